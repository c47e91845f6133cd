"""The demo: generated pictures with exact masks, and every step on them."""
