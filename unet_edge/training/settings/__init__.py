"""Every setting of a training run as dataclasses, without Keras and the rest of the train extra."""
