"""The pictures of one file: pages of TIFF, frames of animated GIF and WebP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from unet_edge.errors import ImageError, StreamError
from unet_edge.images.picture_file import count_frames, opened, page_path
from unet_edge.images.rgb import to_rgb
from unet_edge.streams.frame import Frame, FrameImage, StreamInfo

_PAGES_A_SECOND = 10  # pages of TIFF have no time; viewers of stacks play 5 to 30
_MILLISECOND = Fraction(1, 1000)
# Browsers show a frame of 10 ms or less for 100 ms: so do files that leave the duration out.
_SHORTEST, _DEFAULT = 10, 100  # ms


class Pages:
    """The pages of a TIFF, or the frames of a GIF or WebP with their own durations.

    A source.
    """

    is_live = False

    def __init__(self, path: Path) -> None:
        """Read the header. Raises StreamError when the file is no picture."""
        try:
            with opened(path, load=False) as picture:
                self._is_tiff = picture.format == "TIFF"
                size = picture.size
        except ImageError as error:
            raise StreamError(
                error.found, expected=error.expected, fix=error.fix, subject=error.subject
            ) from error
        self.name = str(path)
        count = count_frames(path)
        rate = Fraction(_PAGES_A_SECOND) if self._is_tiff else None
        self.info = StreamInfo(size, rate, count / _PAGES_A_SECOND if rate else None, count)
        self._path, self._count = path, count

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures. A damaged one raises ImageError when it is decoded."""
        return self._pages() if self._is_tiff else self._animation()

    def _pages(self) -> Iterator[Frame]:
        for index in range(self._count):
            yield Frame(
                index,
                index,
                Fraction(1, _PAGES_A_SECOND),
                time.monotonic(),
                # A path, not pixels: the contract's bit depth must apply to it.
                lambda index=index: page_path(self._path, index + 1),  # type: ignore[misc]
            )

    def _animation(self) -> Iterator[Frame]:
        # A frame is drawn over those before it, so they are decoded in order, here.
        pts = 0
        with opened(self._path, load=False) as animation:
            for index in range(self._count):
                duration = _DEFAULT
                try:
                    animation.seek(index)
                    animation.load()
                    image: FrameImage | ImageError = to_rgb(animation.copy())
                    duration = int(animation.info.get("duration") or 0)
                except Exception as error:  # Pillow's decoders: OSError, EOFError, SyntaxError, …
                    image = ImageError(f"frame {index + 1} of {self.name} is damaged: {error}")
                yield Frame(
                    index,
                    pts,
                    _MILLISECOND,
                    time.monotonic(),
                    lambda image=image: _image(image),  # type: ignore[misc]
                )
                if isinstance(image, ImageError):
                    return  # what comes behind is drawn over it
                pts += duration if duration > _SHORTEST else _DEFAULT


def _image(image: FrameImage | ImageError) -> FrameImage:
    if isinstance(image, ImageError):
        raise image
    return image
