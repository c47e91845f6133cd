"""A video file of segmented frames, which appears complete or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.encoding import Encoding, VideoCodec, VideoEncoder
from unet_edge.sinks.video_writer import Container, VideoWriter
from unet_edge.system.files import synced, temporary_path


class VideoFileSink:
    """Encodes what `draw` makes of each frame, an av.VideoFrame. A sink.

    The video begins at 0 with the first frame. It is written beside `path` and renamed when it is
    closed; without a frame there is no file.
    """

    def __init__(
        self,
        path: Path,
        codec: VideoCodec,
        container: Container,
        draw: Callable[[SegmentedFrame], Any],
        rate: Fraction | None = None,
    ) -> None:
        """Nothing is written before the first frame."""
        self._path, self._temporary = path, temporary_path(path)
        self._codec, self._container, self._draw, self._rate = codec, container, draw, rate
        self._encoder: VideoEncoder | None = None
        self._writer: VideoWriter | None = None

    def write(self, result: SegmentedFrame) -> None:
        """Draw and encode a frame. Raises StreamError or OSError."""
        frame = self._draw(result)
        if self._encoder is None or self._writer is None:
            encoding = Encoding.of(self._codec, frame, self._rate)
            start = frame.pts * encoding.time_base
            self._encoder = VideoEncoder(encoding)
            self._writer = VideoWriter(self._temporary, self._container, encoding, start=start)
        for packet in self._encoder.encode(frame):
            self._writer.write(packet)

    def close(self) -> None:
        """Finish the file; after an error, what can be finished of it."""
        if self._encoder is None or self._writer is None:
            self._temporary.unlink(missing_ok=True)
            return
        try:
            for packet in self._encoder.finish():
                self._writer.write(packet)
            self._writer.close()
            synced(self._temporary)
            self._temporary.replace(self._path)
        except BaseException:  # Ctrl-C too: FFmpeg's handles are freed, and it is raised again
            self._writer.abandon()
            with contextlib.suppress(OSError):  # the first error is raised
                self._temporary.unlink(missing_ok=True)
            raise
