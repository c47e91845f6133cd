"""The model card: a bundle's README.md and its pictures."""
