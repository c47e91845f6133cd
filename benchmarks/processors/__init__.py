"""What is the same on every kind of processor, and what is not."""
