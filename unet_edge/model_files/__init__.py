"""What is inside a .tflite or .onnx file, read with NumPy alone."""
