"""Bytes from a file or standard input, as soon as they arrive, and sources made of them."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Frame, FrameImage, Note, StreamInfo, no_note

STANDARD_INPUT = "-"

ASSUMED_RATE = Fraction(25)
"""Frames a second of streams without timestamps, as ffmpeg's demuxers "mjpeg" and "rawvideo"
assume."""


class ByteSource:
    """A source whose frames follow each other in a file or on standard input.

    They have no timestamps: they count `rate` a second. `is_live` says that a camera's program
    writes them: then the newest frame is segmented, instead of each one.
    """

    def __init__(
        self,
        name: str = STANDARD_INPUT,
        *,
        size: tuple[int, int] | None = None,
        rate: Fraction = ASSUMED_RATE,
        is_live: bool = False,
        on_note: Note = no_note,
    ) -> None:
        """`name` is a file, or "-" for standard input; nothing is read yet."""
        self.name = described(name)
        self.is_live = is_live
        self.is_pipe = name == STANDARD_INPUT
        self.info = StreamInfo(size, rate)
        self._on_note = on_note
        self._input = name
        self._rate = rate
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End the reading from another thread, also while no bytes come."""
        self._interrupted.set()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Callable[[int], bytes]]:
        """Open the input; gives the function of `opened_bytes`."""
        self._interrupted.clear()
        with opened_bytes(self._input, self._interrupted) as read:
            yield read

    def _frame(self, index: int, decode: Callable[[], FrameImage]) -> Frame:
        """The frame with that index, which has just arrived."""
        return Frame(index, index, 1 / self._rate, time.monotonic(), decode)


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
