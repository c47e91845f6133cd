"""Raw frames one after another, from standard input or a file, as ffmpeg's -f rawvideo writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

from unet_edge.errors import StreamError
from unet_edge.streams.byte_input import ASSUMED_RATE, STANDARD_INPUT, ByteSource
from unet_edge.streams.frame import Frame, Note, no_note
from unet_edge.streams.pixel_layouts import PixelLayout


class RawFrames(ByteSource):
    """Frames of one layout in a stream of bytes. A source."""

    def __init__(
        self,
        layout: PixelLayout,
        name: str = STANDARD_INPUT,
        *,
        rate: Fraction = ASSUMED_RATE,
        is_live: bool = False,
        on_note: Note = no_note,
    ) -> None:
        """`name` is a file, or "-" for standard input; nothing is read yet."""
        super().__init__(name, size=layout.size, rate=rate, is_live=is_live, on_note=on_note)
        self._layout = layout

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. A short one at the end is left out, with a note.

        Raises StreamError when there is no complete frame, or when it cannot be read.
        """
        index, length = 0, self._layout.frame_bytes
        with self._opened() as read:
            while len(data := _read_fully(read, length)) == length:
                yield self._frame(index, partial(self._layout.rgb, data))
                index += 1
        if self._interrupted.is_set():
            return
        width, height = self._layout.size
        frame = f"a frame of {width}x{height} {self._layout.format} has {length:,} bytes"
        if not index:
            raise StreamError(
                f"{self.name} has {len(data):,} bytes",
                expected=frame,
                fix="check --frame-size and --pixel-format",
            )
        if data:
            self._on_note(
                f"{self.name}: the last {len(data):,} bytes are left out, because {frame}; if "
                "pictures look slanted or have wrong colours, check --frame-size and --pixel-format"
            )


def _read_fully(read: Callable[[int], bytes], length: int) -> bytes:
    """Read `length` bytes, or fewer at the end."""
    pieces: list[bytes] = []
    missing = length
    while missing and (piece := read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
