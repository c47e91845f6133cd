"""The small trained network and what comes of it, for the tests of this room."""

from network_fixtures import *  # noqa: F403
