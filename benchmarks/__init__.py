"""Campaigns that are run from a checkout; their results are committed in `reference/`."""
