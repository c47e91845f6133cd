"""Masks: the labels of a picture, drawings and files made from them, and metrics."""
