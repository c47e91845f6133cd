"""A moving test pattern, for trying streams without a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from unet_edge.errors import ConfigError
from unet_edge.images.placement import Pixels
from unet_edge.streams.frame import Frame, StreamInfo


class TestPattern:
    """Colour bars with a disc that moves: the same frames on every machine.

    A source. `frames` limits their number. With `is_live`, they come at `rate` frames a second,
    as a camera's do; otherwise as fast as they are taken.
    """

    __test__ = False  # pytest would collect the name

    def __init__(
        self,
        size: tuple[int, int] = (640, 480),
        rate: int = 30,
        frames: int | None = None,
        *,
        is_live: bool = True,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """`size` is (width, height) px. `now` and `wait` are the clock; a simulation has its own.

        Raises ConfigError for a size or rate below 1.
        """
        if min(*size, rate) < 1:
            raise ConfigError(
                f"a test pattern of {size[0]}x{size[1]} px and {rate} frames a second",
                expected="all must be at least 1",
            )
        self.name = f"test pattern {size[0]}x{size[1]}"
        self.is_live = is_live
        self.info = StreamInfo(size, Fraction(rate), frames and frames / rate, frames)
        self._size, self._rate, self._frames = size, rate, frames
        self._now, self._wait = now, wait
        self._bars = _bars(*size)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        start, index = self._now(), 0
        while self._frames is None or index < self._frames:
            if self.is_live and (pause := start + index / self._rate - self._now()) > 0:
                self._wait(pause)
            yield Frame(
                index,
                index,
                Fraction(1, self._rate),
                self._now(),
                lambda index=index: self.picture(index),  # type: ignore[misc]
            )
            index += 1

    def picture(self, index: int) -> Pixels:
        """The pixels of a frame, uint8 (H, W, 3)."""
        width, height = self._size
        pixels = self._bars.copy()
        radius = max(1, min(width, height) // 6)
        # The disc crosses the picture in 4 seconds, whatever the rate.
        x = index * width // (4 * self._rate) % width
        y = height // 2
        rows, columns = np.ogrid[:height, :width]
        pixels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = (230, 120, 60)
        return pixels


_COLORS = np.array(
    [(192, 192, 192), (192, 192, 0), (0, 192, 192), (0, 192, 0), (192, 0, 192), (192, 0, 0),
     (0, 0, 192)],
    np.uint8,
)  # fmt: skip
"""The bars of SMPTE EG 1 at 75 %, 192 of 255."""


def _bars(width: int, height: int) -> Pixels:
    row = _COLORS[np.arange(width) * len(_COLORS) // width]
    return np.broadcast_to(row, (height, width, 3)).copy()
