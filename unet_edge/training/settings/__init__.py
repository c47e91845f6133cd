"""Every setting of a training run as dataclasses. No Keras, and nothing of the train extra."""
