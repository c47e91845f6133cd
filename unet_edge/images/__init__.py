"""A picture's way in: its file, decoding, and its place on the model's grid."""
