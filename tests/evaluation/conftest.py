"""The fixtures of the small trained network."""

from network_fixtures import *  # noqa: F403
