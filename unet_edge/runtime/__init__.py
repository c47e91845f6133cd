"""The device side: backends, Segmenter, verification and measurement. No TensorFlow, no onnx."""
