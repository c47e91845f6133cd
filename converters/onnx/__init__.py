"""Convert Keras models to .onnx files."""
