"""Live sources that are opened again when they are lost."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Frame, Source, StreamInfo, close_frames

State = Literal["running", "reconnecting"]
StatusCallback = Callable[[State, str], object]
"""Called with the state and a message for people, when the state changes and before each pause."""


def silent(state: State, message: str) -> None:
    """Tell nobody."""


class Reconnecting:
    """A live source that is opened again after it was lost. A source itself.

    The first opening is not repeated: its error is raised. After a loss, pauses grow from 1 to
    30 s until frames come again. A source that ends without an error has ended. `index` goes on
    counting, and `pts` goes on with the clock: the time without frames is a gap.
    """

    is_live = True

    def __init__(
        self,
        source: Callable[[], Source],
        on_status: StatusCallback = silent,
        *,
        attempts: float = math.inf,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`source` makes the source anew for each opening.

        `attempts` limits how often it is opened after a loss; the last error is then raised. `wait`
        is the pause; a simulation has its own.
        """
        self._make, self._on_status = source, on_status
        self._attempts = attempts
        self._interrupted = threading.Event()
        self._wait = wait or self._interrupted.wait
        self._source = source()
        self.name = self._source.name
        self.reconnections = 0

    @property
    def info(self) -> StreamInfo:
        """That of the source as it was last opened."""
        return self._source.info

    def interrupt(self) -> None:
        """End the reading, from another thread: at once in a pause, else at the next frame."""
        self._interrupted.set()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. Raises StreamError if the first opening fails, or all attempts."""
        self._interrupted.clear()
        numbering = _Numbering()
        failures = 0
        while True:
            frames = self._source.frames()
            try:
                for frame in frames:
                    if failures:
                        failures = 0
                        self.reconnections += 1
                        self._on_status("running", f"{self.name} is back")
                    yield numbering.continued(frame)
                    if self._interrupted.is_set():
                        return
                return
            except StreamError as error:
                if numbering.is_empty or failures >= self._attempts:
                    raise
                pause = pause_after(failures)
                failures += 1
                self._on_status("reconnecting", f"{error}; trying again in {pause:.0f} s")
            finally:
                close_frames(frames)
            self._wait(pause)
            if self._interrupted.is_set():
                return
            numbering.begin_anew()
            self._source = self._make()


def pause_after(failures: int) -> float:
    """Seconds to wait after `failures` attempts have failed: 1, 2, 4 … 30, up to a quarter less.

    The chance keeps many readers of one camera from coming back all at once.
    """
    return min(2.0**failures, _LONGEST) * random.uniform(0.75, 1)


_LONGEST = 30.0
_TICKS = 90_000  # a second, as of RTP's clock for video


class _Numbering:
    """Gives the frames of all openings one count and one clock."""

    def __init__(self) -> None:
        self._index = self._pts = -1
        self._first_index = 0
        self._is_new = True
        self._first_captured = 0.0
        self._shift = 0

    @property
    def is_empty(self) -> bool:
        return self._index < 0

    def begin_anew(self) -> None:
        """The next frame is the first of another opening, which has its own count and clock."""
        self._is_new = True

    def continued(self, frame: Frame) -> Frame:
        """The frame with the index and the pts that follow."""
        own = round(frame.pts * frame.time_base * _TICKS)
        if self._is_new:
            if self.is_empty:
                self._first_captured = frame.captured
            self._first_index = self._index + 1 - frame.index
            passed = round((frame.captured - self._first_captured) * _TICKS)
            self._shift = passed - own
            self._is_new = False
        self._index = self._first_index + frame.index
        # An opening's frames may have been shown later than they came, the next one's follow.
        self._pts = max(self._pts + 1, own + self._shift)
        return replace(frame, index=self._index, pts=self._pts, time_base=Fraction(1, _TICKS))
