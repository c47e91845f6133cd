"""Emulated Raspberry Pis: what is proven there, by `make test-pi`."""
