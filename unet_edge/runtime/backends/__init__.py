"""Backends: one interpreter each behind one method. `opening.open_backend` picks one for a file."""
