"""Frames of a file at the pace at which they are shown, as a camera would give them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from unet_edge.streams.frame import Frame, Source, StreamInfo, close_frames


class Paced:
    """A live source of another source's frames, each at its own time. A source itself.

    `captured` is the time at which a frame was due. A frame that comes late does not delay those
    behind it. A file's gap of more than ten seconds is cut to ten.
    """

    is_live = True

    def __init__(
        self,
        source: Source,
        *,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`now` and `wait` are the clock; a simulation has its own."""
        self.name = source.name
        self._source = source
        self._interrupted = threading.Event()
        self._now, self._wait = now, wait or self._interrupted.wait

    @property
    def info(self) -> StreamInfo:
        """That of the source."""
        return self._source.info

    def interrupt(self) -> None:
        """End the reading from another thread, at once."""
        self._interrupted.set()
        if interrupt := getattr(self._source, "interrupt", None):
            interrupt()  # a source that waits for bytes

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. Raises StreamError as the source does."""
        self._interrupted.clear()
        frames = self._source.frames()
        before: float | None = None
        due = self._now()
        try:
            for frame in frames:
                if before is not None:
                    due += min(max(0.0, frame.time - before), _LONGEST_GAP)
                before = frame.time
                if (pause := due - self._now()) > 0:
                    self._wait(pause)
                if self._interrupted.is_set():
                    return
                yield replace(frame, captured=max(due, frame.captured))
        finally:
            close_frames(frames)


_LONGEST_GAP = 10.0  # seconds
