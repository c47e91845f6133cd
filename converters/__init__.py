"""Convert Keras models to files for the device; only this package imports TensorFlow and onnx."""
