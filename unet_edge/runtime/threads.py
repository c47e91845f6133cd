"""The number of threads of an interpreter."""

from __future__ import annotations

import os

from unet_edge.errors import ConfigError

MOST_THREADS = 4
"""A Raspberry Pi has four processors, and more threads gain little for models of this size."""


def default_threads() -> int:
    """The number of processors this process may run on, at most MOST_THREADS."""
    return min(MOST_THREADS, processors())


def most_threads() -> int:
    """The upper limit of `threads`: the number of this machine's processors, at least four."""
    # Interpreters start as many threads as requested, and a million makes them die or hang.
    return max(MOST_THREADS, os.cpu_count() or 1)


def thread_count(threads: int | None) -> int:
    """The number of threads, by default `default_threads`. Raises ConfigError out of range."""
    if threads is None:
        return default_threads()
    if not 1 <= threads <= most_threads():
        raise ConfigError(
            f"threads is {threads}",
            expected=f"it must be from 1 to {most_threads()} on this machine",
        )
    return threads


def processors() -> int:
    """The number of processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
