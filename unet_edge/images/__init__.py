"""Reading pictures: their files, decoding, and their placement on the model's grid."""
