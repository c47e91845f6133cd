"""Training in plain Keras 3, on any of its backends; TensorFlow itself is not imported here."""
