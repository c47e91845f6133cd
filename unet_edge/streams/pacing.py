<<<<<<< HEAD
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
=======
"""A file played at its own pace, as a camera's frames come."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

from unet_edge.streams.frame import Frame, Source, StreamInfo


class Paced:
    """A live source made of one that is not: each frame comes when it is shown. A source."""
>>>>>>> 8096481 (wip4)

    is_live = True

    def __init__(
        self,
        source: Source,
        *,
        now: Callable[[], float] = time.monotonic,
<<<<<<< HEAD
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`now` and `wait` are the clock; a simulation has its own."""
        self.name = source.name
        self._source = source
        self._interrupted = threading.Event()
        self._now, self._wait = now, wait or self._interrupted.wait
=======
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """`now` and `wait` are the clock; a simulation has its own."""
        self._source, self._now, self._wait = source, now, wait
        self.name = source.name
>>>>>>> 8096481 (wip4)

    @property
    def info(self) -> StreamInfo:
        """That of the source."""
        return self._source.info

<<<<<<< HEAD
    def interrupt(self) -> None:
        """End the reading from another thread, at once."""
        self._interrupted.set()

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
=======
    def frames(self) -> Iterator[Frame]:
        """Yield the frames; the first one at once."""
        start: float | None = None
        frames = self._source.frames()
        try:
            for frame in frames:
                if start is None:
                    start = self._now() - frame.time
                if (pause := start + frame.time - self._now()) > 0:
                    self._wait(pause)
                frame.captured = self._now()
                yield frame
        finally:
            if isinstance(frames, Generator):
                frames.close()
>>>>>>> 8096481 (wip4)
