"""Fixtures of this room: the small trained network, its files and their outputs."""

from network_fixtures import *  # noqa: F403
