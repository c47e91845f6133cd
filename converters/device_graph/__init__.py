"""Rewrite Keras models into graphs that the device runs fast; both compute the same."""
