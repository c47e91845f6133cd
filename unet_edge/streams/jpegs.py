"""Pictures one after another, JPEG or PNG, from a file or standard input.

`ffmpeg -f mjpeg -`, `rpicam-vid --codec mjpeg -o -` and GStreamer's `jpegenc ! fdsink` write such
streams. A JPEG is passed on as its file, so that the contract's scaled decoding applies to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction

from unet_edge.errors import ImageError, StreamError
from unet_edge.streams.byte_input import STANDARD_INPUT, described, opened_bytes
from unet_edge.streams.frame import Frame, Note, StreamInfo, no_note
from unet_edge.streams.picture_splitting import FoundPicture, split_pictures

ASSUMED_RATE = Fraction(25)
"""Frames a second of streams without timestamps, as ffmpeg's demuxers "mjpeg" and "rawvideo"
assume."""


class PictureStream:
    """The pictures of a stream of bytes.

    A source. Pictures have no timestamps: they count `rate` a second.
    """

    def __init__(
        self,
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
        self.info = StreamInfo(rate=rate)
        self._on_note = on_note
        self._input = name
        self._rate = rate
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End the reading from another thread, also while no bytes come."""
        self._interrupted.set()

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures. A damaged one raises ImageError when it is decoded.

        Raises StreamError when there is no picture, or when it cannot be read.
        """
        self._interrupted.clear()
        index = 0
        with opened_bytes(self._input, self._interrupted) as read:
            for picture in split_pictures(read):
                if picture.is_cut and self._interrupted.is_set():
                    return
                if picture.is_cut and index:
                    self._on_note(f"{self.name} ends within picture {index + 1}; it is left out")
                    return
                yield Frame(
                    index,
                    index,
                    1 / self._rate,
                    time.monotonic(),
                    lambda picture=picture, number=index + 1: self._image(picture, number),  # type: ignore[misc]
                )
                index += 1
        if not index and not self._interrupted.is_set():
            raise StreamError(
                f"{self.name} has no picture",
                expected="JPEG or PNG pictures must come one after another",
                fix="give raw frames their --frame-size and --pixel-format",
            )

    def _image(self, picture: FoundPicture, number: int) -> bytes:
        if picture.problem:
            raise ImageError(
                f"is damaged: {picture.problem}", subject=f"picture {number} of {self.name}"
            )
        return picture.data
