"""Training in plain Keras 3; TensorFlow itself is not imported here."""
