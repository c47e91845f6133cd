"""Convert Keras models to .tflite files."""
