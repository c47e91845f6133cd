"""Backends: one interpreter each behind one method."""
