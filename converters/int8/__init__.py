"""Rounding a network to int8, so that its masks stay those of Keras."""
