"""The orientation of video frames: a display matrix turns and mirrors them for showing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_edge.images.placement import Pixels


@dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes upright: mirrored left to right or not, then turned.

    `turns` counts quarter turns counterclockwise, 0 to 3.
    """

    turns: int = 0
    is_mirrored: bool = False

    def upright(self, pixels: Pixels) -> Pixels:
        """Turn stored pixels (H, W, 3)."""
        if self.is_mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self.turns))

    def upright_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) of a stored frame when it is upright."""
        return (height, width) if self.turns % 2 else (width, height)


AS_STORED = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """The orientation of an av.VideoFrame. Other angles are rounded to the next quarter turn."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return AS_STORED
    # A stored point (p, q), q downwards, is shown at (a p + c q, b p + d q); libavutil/display.h
    a, b, _, c, d = np.frombuffer(bytes(data), "=i4")[:5].astype(float)
    is_mirrored = bool(a * d - b * c < 0)
    if is_mirrored:
        a, b = -a, -b
    turns = round(np.degrees(np.arctan2(-b, a)) / 90) % 4
    return Orientation(int(turns), is_mirrored)
