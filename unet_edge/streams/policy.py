"""Which frames are segmented: every one, or the latest one whenever the model is free."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Literal

from unet_edge.streams.frame import Frame, Source, close_frames
from unet_edge.streams.pacing import Paced

Policy = Literal["every", "latest"]
"""every: no frame is lost, and the source waits for the model. latest: the newest frame; older
ones are dropped and counted, so that the delay stays bounded."""


def default_policy(source: Source) -> Policy:
    """The policy of a source: "latest" for live ones, so that no delay builds up."""
    return "latest" if source.is_live else "every"


class LatestFrames:
    """The frames of a source, read by a thread that keeps only the newest.

    A source that is not live, such as a file, is read at the pace at which its frames are shown.
    Standard input is read at the pace of the program that writes it. Iterate once. `dropped` counts
    the frames that were read and not given to the reader.
    """

    def __init__(self, source: Source) -> None:
        """Nothing is read before the iteration begins."""
        self.dropped = 0
        # Waiting would hold a pipe's program back, and the delay would grow.
        has_pace = source.is_live or getattr(source, "is_pipe", False)
        self._source: Source = source if has_pace else Paced(source)
        self._newest: Frame | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._stop = False
        self._changed = threading.Condition()

    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield the newest frame each time; ends when the source does, and raises its error.

        Closing the iterator ends the reading thread, at the source's next frame.
        """
        reader = threading.Thread(target=self._read, name="frames", daemon=True)
        reader.start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._newest is not None or self._ended)
                    frame, self._newest = self._newest, None
                    if frame is None:
                        if self._error is not None:
                            raise self._error
                        return
                yield frame
        finally:
            self._stop = True
            self._end(reader)

    def stop(self) -> None:
        """End the iteration, from another thread, also while the source gives no frame."""
        self._stop = True
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _end(self, reader: threading.Thread) -> None:
        interrupt = getattr(self._source, "interrupt", None)
        deadline = time.monotonic() + _PATIENCE
        while reader.is_alive() and time.monotonic() < deadline:
            if interrupt is not None:
                interrupt()  # again, because a source that only now begins forgets the first one
            reader.join(timeout=0.1)
        with self._changed:
            if self._newest is not None:
                self._newest = None
                self.dropped += 1

    def _read(self) -> None:
        frames: Iterator[Frame] = iter(())
        try:
            frames = self._source.frames()
            for frame in frames:
                with self._changed:
                    if self._newest is not None:
                        self.dropped += 1
                    self._newest = frame
                    self._changed.notify()
                if self._stop:
                    return
        except BaseException as error:  # raised in the thread that iterates
            self._error = error
        finally:
            close_frames(frames)
            with self._changed:
                self._ended = True
                self._changed.notify()


_PATIENCE = 10  # seconds for a source that blocks; its thread is a daemon and cannot keep us
