"""Keras model to bytes for the device; TensorFlow and onnx live here and nowhere else."""
