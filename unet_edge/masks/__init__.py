"""Masks: labels of a picture, what is drawn and written of them, and metrics over them."""
