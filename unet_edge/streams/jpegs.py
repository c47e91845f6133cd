"""Pictures one after another, JPEG or PNG, from a file or standard input.

`ffmpeg -f mjpeg -`, `rpicam-vid --codec mjpeg -o -` and GStreamer's `jpegenc ! fdsink` write such
streams. A JPEG is passed on as its file, so that the contract's scaled decoding applies to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from unet_edge.errors import ImageError, StreamError
from unet_edge.streams.byte_input import ByteSource
from unet_edge.streams.frame import Frame
from unet_edge.streams.picture_splitting import FoundPicture, split_pictures


class PictureStream(ByteSource):
    """The pictures of a stream of bytes. A source."""

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures. A damaged one raises ImageError when it is decoded.

        Raises StreamError when there is no picture, or when it cannot be read.
        """
        index = 0
        with self._opened() as read:
            for picture in split_pictures(read):
                if picture.is_cut and self._interrupted.is_set():
                    return
                if picture.is_cut and index:
                    self._on_note(f"{self.name} ends within picture {index + 1}; it is left out")
                    return
                yield self._frame(index, partial(self._image, picture, index + 1))
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
