"""Keras to .onnx."""
