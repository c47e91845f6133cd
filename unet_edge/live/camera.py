"""A camera that is segmented in a thread, and its newest result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.live.figures import FrameRate, History
from unet_edge.live.published import Published
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.stream import SegmentedFrame, SegmentedStream
from unet_edge.streams.frame import Source
from unet_edge.streams.reconnect import State, StatusCallback

Status = Literal["running", "stopped", "reconnecting", "ended", "failed"]

MakeSource = Callable[[StatusCallback], Source]
"""Makes a source, which calls the function when it is lost and when it is back."""

Watcher = Callable[[Published], None]
"""Called in the camera's thread after each frame; it must return at once."""


class Camera:
    """Segments the newest frame of a source, again and again, in a thread of its own.

    `newest` is the latest result, None before the first. `frames`, `dropped` and `damaged` count
    since the beginning, over every stop and start.
    """

    def __init__(
        self,
        make_source: MakeSource,
        segmenter: Segmenter,
        *,
        smoothing: float = 0.0,
        on_failure: Callable[[str], object] = lambda message: None,
    ) -> None:
        """`make_source` makes the source anew each time the camera starts; see `open_source`.

        `on_failure` is called with the error of a source that cannot be read any further. Raises
        StreamError if it is none.
        """
        self._stream: SegmentedStream | None = None
        self.source = make_source(self._note)
        self.segmenter = segmenter
        self.newest: Published | None = None
        self.status: Status = "stopped"
        self.message: str | None = None
        self.frames = 0
        self.smoothing = smoothing
        self.history = History()
        self._make_source, self._on_failure = make_source, on_failure
        self._unused: Source | None = self.source
        self._rate = FrameRate()
        self._watchers: list[Watcher] = []
        self._before = (0, 0)  # dropped and damaged, of streams that have ended
        self._thread: threading.Thread | None = None
        self._control = threading.Lock()
        self._counts = threading.RLock()  # of `_stream` and `_before` together
        self._since = time.monotonic()

    @property
    def dropped(self) -> int:
        """Frames that were read and not segmented."""
        with self._counts:
            return self._before[0] + (self._stream.dropped if self._stream else 0)

    @property
    def damaged(self) -> int:
        """Frames that could not be decoded."""
        with self._counts:
            return self._before[1] + (self._stream.damaged if self._stream else 0)

    @property
    def rate(self) -> float | None:
        """Frames a second over the last seconds."""
        return self._rate.at(time.monotonic())

    @property
    def silent_for(self) -> float:
        """Seconds since the last frame, or since the start."""
        return time.monotonic() - self._since

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` after each frame, from now on."""
        self._watchers.append(watcher)

    def start(self) -> None:
        """Open the source and begin; does nothing while it runs.

        Raises StreamError if the source cannot be opened, ConfigError while a source that hangs
        is still being closed.
        """
        with self._control:
            if self._thread and self._thread.is_alive():
                if self._stream is not None:
                    return
                raise ConfigError(
                    "the camera is still being freed", fix="try again in some seconds"
                )
            self.source = self._unused or self._make_source(self._note)
            self._unused = None
            stream = SegmentedStream(
                self.source, [self.segmenter], policy="latest", smoothing=self.smoothing
            )
            self._stream = stream
            stream.segmenter = self.segmenter  # `use` may have been called since
            self._since = time.monotonic()
            self.status, self.message = "running", None
            self._thread = threading.Thread(
                target=self._run, args=(stream,), name="camera", daemon=True
            )
            self._thread.start()

    def stop(self, patience: float = 3.0) -> None:
        """End the stream and free the source; waits at most `patience` seconds for it."""
        with self._control:
            thread, stream = self._thread, self._stream
            if stream is not None:
                self._end(stream, "stopped")
                stream.stop()
        if thread is not None:
            thread.join(patience)

    def use(self, segmenter: Segmenter) -> None:
        """Segment with another model, from the next frame on."""
        self.segmenter = segmenter
        if (stream := self._stream) is not None:
            stream.segmenter = segmenter

    def _note(self, state: State, message: str) -> None:
        """Take the status of a source that is lost or back; called in its thread."""
        if self._stream is not None:
            self.status = state
            self.message = message if state == "reconnecting" else None

    def _run(self, stream: SegmentedStream) -> None:
        status: Status = "ended"
        message = None
        try:
            with stream:
                for result in stream:
                    if self._stream is not stream:  # stopped
                        return
                    self._publish(result)
        except (UnetEdgeError, OSError) as error:
            status, message = "failed", str(error)
        except BaseException as error:  # whatever ends the thread, the page says so
            status, message = "failed", f"{type(error).__name__}: {error}"
            raise  # a fault of ours: the thread prints it
        finally:
            self._end(stream, status, message)

    def _end(self, stream: SegmentedStream, status: Status, message: str | None = None) -> None:
        with self._counts:  # the stream may end while `stop` ends it
            if self._stream is not stream:
                return
            self._before = (self.dropped, self.damaged)
            self._stream = None
            self.status, self.message = status, message
        if status == "failed":
            self._on_failure(message or "")

    def _publish(self, result: SegmentedFrame) -> None:
        now = time.monotonic()
        self._since = now
        self.frames += 1
        self._rate.add(now)
        shares = result.grid.shares()
        self.history.add(now, shares)
        published = Published(self.frames, result, shares, self._rate.at(now))
        self.newest = published
        for watcher in self._watchers:
            watcher(published)
