"""Drawings for people: grids of pictures, comparisons, the confusion matrix."""
