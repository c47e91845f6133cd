"""Raw frames one after another, from standard input or a file, as ffmpeg's -f rawvideo writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from unet_edge.errors import StreamError
from unet_edge.streams.byte_input import STANDARD_INPUT, described, opened_bytes
from unet_edge.streams.frame import Frame, Note, StreamInfo, no_note
from unet_edge.streams.jpegs import ASSUMED_RATE
from unet_edge.streams.pixel_layouts import PixelLayout


class RawFrames:
    """Frames of one layout in a stream of bytes.

    A source. Frames have no timestamps: they count `rate` a second.
    """

    def __init__(
        self,
        layout: PixelLayout,
        name: str = STANDARD_INPUT,
        *,
        rate: Fraction = ASSUMED_RATE,
        is_live: bool = False,
        on_note: Note = no_note,
    ) -> None:
        """`name` is a file, or "-" for standard input; nothing is read yet.

        Give `is_live` if a camera's program writes: then the newest frame is segmented, instead of
        each one.
        """
        self.name = described(name)
        self.is_live = is_live
        self.is_pipe = name == STANDARD_INPUT
        self.info = StreamInfo(layout.size, rate)
        self._on_note = on_note
        self._layout = layout
        self._input = name
        self._rate = rate
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End the reading from another thread, also while no bytes come."""
        self._interrupted.set()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. A short one at the end is left out, with a note.

        Raises StreamError when there is no complete frame, or when it cannot be read.
        """
        self._interrupted.clear()
        index, length = 0, self._layout.frame_bytes
        with opened_bytes(self._input, self._interrupted) as read:
            while len(data := _read_fully(read, length)) == length:
                yield Frame(
                    index,
                    index,
                    1 / self._rate,
                    time.monotonic(),
                    lambda data=data: self._layout.rgb(data),  # type: ignore[misc]
                )
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
