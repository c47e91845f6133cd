"""Some of the frames of a source that can only be read from its beginning."""

from __future__ import annotations

from collections.abc import Iterator

from unet_edge.streams.frame import Frame, Source, StreamInfo, close_frames


class Selected:
    """Every n-th frame of a source, between two times. A source.

    Frames keep their index and time. Times count from the first frame, in seconds.
    """

    def __init__(
        self,
        source: Source,
        *,
        every: int = 1,
        start: float | None = None,
        stop: float | None = None,
    ) -> None:
        """`start` and `stop` are None for the source's beginning and end."""
        self.name = source.name
        self.is_live = source.is_live
        self._source, self._every, self._start, self._stop = source, every, start, stop

    @property
    def info(self) -> StreamInfo:
        """The source's size; `rate` is that of the frames that are selected."""
        info = self._source.info
        return StreamInfo(info.size, info.rate / self._every if info.rate else None)

    def interrupt(self) -> None:
        """End the reading from another thread, if the source can."""
        if interrupt := getattr(self._source, "interrupt", None):
            interrupt()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. Raises StreamError as the source does."""
        frames = self._source.frames()
        first: float | None = None
        try:
            for frame in frames:
                first = frame.time if first is None else first
                passed = frame.time - first
                if self._stop is not None and passed >= self._stop:
                    return
                if frame.index % self._every == 0 and passed >= (self._start or 0):
                    yield frame
        finally:
            close_frames(frames)
