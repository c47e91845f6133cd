"""The embedded default: generated pictures with exact masks, for a first run without data."""
