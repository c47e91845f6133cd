"""A frame, and the protocol of the sources that give frames."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from unet_edge.images.placement import Pixels

FrameImage = Pixels | bytes | Image.Image | Path
"""RGB pixels, uint8 (H, W, 3), the bytes of a picture file such as a JPEG, an RGB picture, or the
path of a picture file."""


@dataclass(eq=False)
class Frame:
    """One picture of a stream.

    `index` counts from 0 and includes frames that were dropped. The frame is shown at `pts` ticks
    of `time_base` seconds. `captured` is the time.monotonic() at which the frame arrived. `decode`
    makes the image; sources leave conversions to it, so that a worker thread does them. `native`
    is the decoder's own frame, an upright av.VideoFrame, or None.
    """

    index: int
    pts: int
    time_base: Fraction
    captured: float
    decode: Callable[[], FrameImage] = field(repr=False)
    native: Any = field(default=None, repr=False)

    @cached_property
    def image(self) -> FrameImage:
        """The picture, upright. Raises ImageError if it is damaged."""
        return self.decode()

    @property
    def time(self) -> float:
        """The time at which the frame is shown, in seconds of the source's own clock."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True)
class StreamInfo:
    """What a source knows about its frames before the first one; None where it knows nothing.

    `size` is (width, height) px of the upright picture. `rate` is in frames a second, `duration`
    in seconds. `frames` may be an estimate.
    """

    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    duration: float | None = None
    frames: int | None = None


Note = Callable[[str], object]
"""Called with a sentence for people: what was left out, or given otherwise than asked for."""


def no_note(message: str) -> None:
    """Tell nobody."""


class Source(Protocol):
    """A stream of frames: a file, a camera, a network stream."""

    name: str
    """The source, for people."""

    is_live: bool
    """Whether frames come at their own pace, as a camera's. A live source is read with the policy
    "latest", others with "every"."""

    @property
    def info(self) -> StreamInfo:
        """What is known before the first frame.

        Raises StreamError if the source must be read for it, and cannot.
        """
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, until the end or until the iterator is closed, which frees the source.

        Raises StreamError when the source cannot be read any further.
        """
        ...


def close_frames(frames: Iterator[Frame]) -> None:
    """End a reading early, which frees its source."""
    if isinstance(frames, Generator):
        frames.close()
