"""The orientation of video frames: a display matrix turns and mirrors them for showing."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image

_TURNS = {
    1: Image.Transpose.ROTATE_90,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes upright: mirrored left to right or not, then turned.

    `turns` counts quarter turns counterclockwise, 0 to 3.
    """

    turns: int = 0
    is_mirrored: bool = False

    def upright(self, picture: Image.Image) -> Image.Image:
        """Turn a stored picture."""
        if self.is_mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return picture.transpose(_TURNS[self.turns]) if self.turns else picture

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
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    return Orientation(round(math.atan2(-b, a) / (math.pi / 2)) % 4, is_mirrored)
