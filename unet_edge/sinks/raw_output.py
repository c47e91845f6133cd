"""Raw frames for a pipe: masks as bytes of class indices, or overlays as RGB."""

from __future__ import annotations

from typing import BinaryIO, Literal, assert_never

from unet_edge.images.decoding import decode
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.overlay import Legend

RawKind = Literal["index", "overlay"]


class RawOutput:
    """Writes each frame's pixels one after another, without any header. A sink.

    "index" is one byte a pixel, the class index (ffmpeg's -pix_fmt gray); "overlay" is three, red,
    green and blue (rgb24). Both have the frame's own size.
    """

    def __init__(self, file: BinaryIO, kind: RawKind, *, legend: Legend = "on") -> None:
        """`file` is open, and stays open."""
        self._file, self._kind, self._legend = file, kind, legend

    def write(self, result: SegmentedFrame) -> None:
        """Write a frame."""
        self._file.write(self.pixels(result))

    def pixels(self, result: SegmentedFrame) -> bytes:
        """The bytes of a frame. Several threads may call it."""
        match self._kind:
            case "index":
                return result.mask.labels.tobytes()
            case "overlay":
                photo = decode(result.frame.image).copy()
                return result.mask.lay_over(photo, legend=self._legend).tobytes()
            case _:
                assert_never(self._kind)

    def close(self) -> None:
        """Pass on what is buffered."""
        self._file.flush()
