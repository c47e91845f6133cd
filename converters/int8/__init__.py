"""Prepare a network for int8 so that its masks stay close to Keras' masks."""
