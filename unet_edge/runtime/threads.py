"""How many threads an interpreter gets."""

from __future__ import annotations

import os

from unet_edge.errors import ConfigError

MOST_THREADS = 4
"""A Raspberry Pi's processors, and where more stop paying for models of this size."""


def default_threads() -> int:
    """Processors this process may run on, at most MOST_THREADS."""
    return min(MOST_THREADS, processors())


def most_threads() -> int:
    """The most threads that may be asked for here: this machine's processors, at least four.

    Interpreters start as many as they are told to, and die or hang of a million.
    """
    return max(MOST_THREADS, os.cpu_count() or 1)


def thread_count(threads: int | None) -> int:
    """The number of threads asked for, or the default. Raises ConfigError for too many."""
    if threads is None:
        return default_threads()
    if not 1 <= threads <= most_threads():
        raise ConfigError(
            f"threads is {threads}",
            fix=(f"choose 1 to {most_threads()}, as this machine has {os.cpu_count()} processors"),
        )
    return threads


def processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
