"""Reading .tflite and .onnx files with only NumPy: contract, graph, and supporting runtimes."""
