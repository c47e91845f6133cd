"""Backends: each puts one interpreter behind one interface; `opening` chooses one for a file."""
