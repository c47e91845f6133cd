"""Bytes from a file or standard input, as soon as they arrive."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from unet_edge.errors import StreamError

STANDARD_INPUT = "-"


_INTERVAL = 0.2  # s between two looks at whether a reader that waits is interrupted


@contextlib.contextmanager
def opened_bytes(name: str, interrupted: threading.Event) -> Iterator[Callable[[int], bytes]]:
    """Open a file, or standard input for "-"; gives a function that reads at most so many bytes.

    It returns what is there without waiting for more, and nothing at the end or when `interrupted`
    is set. Raises StreamError when it cannot be read.
    """
    shown = described(name)
    handle = None
    try:
        try:
            if name == STANDARD_INPUT:
                handle = os.dup(sys.stdin.fileno())
            else:
                handle = os.open(Path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StreamError(f"no such file: {name}") from None
        except (OSError, ValueError, AttributeError) as error:  # closed, or no file of the system
            raise _unreadable(shown, error) from error

        def read(most: int) -> bytes:
            try:
                while not interrupted.is_set():
                    if select.select([handle], [], [], _INTERVAL)[0]:
                        return os.read(handle, most)
                return b""
            except OSError as error:  # such as a folder
                raise _unreadable(shown, error) from error

        yield read
    finally:
        if handle is not None:
            os.close(handle)


def described(name: str) -> str:
    """The name of an input for people."""
    return "standard input" if name == STANDARD_INPUT else name


def _unreadable(shown: str, error: Exception) -> StreamError:
    return StreamError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}")
