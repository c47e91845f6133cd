"""How pictures larger than the model are cut into tiles: the settings, which load no NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unet_edge.errors import ConfigError

if TYPE_CHECKING:
    from unet_edge.spec import ModelSpec

MAX_OVERLAP = 0.9
"""At this overlap, a hundred tiles see a pixel."""

STRIDE = 16
"""The deepest features of our networks have one value for 16x16 px of the grid."""

SCALES = (0.01, 8.0)
"""At 8 a grid of 384 px sees 48 px of the photo; at 0.01 any photo fits."""


@dataclass(frozen=True)
class Tiles:
    """How pictures larger than the model are cut.

    `overlap` is the least share of a tile that its neighbour sees too. `scale` is the size of the
    photo on the model's grid: at 1 a pixel of the photo is one of the grid, at 0.5 a tile covers
    twice the grid's height and width. It is rounded so that 16 px of the grid are whole pixels of
    the photo. A model knows objects at the size of its training pictures: photos of 640 px
    trained on at 384 px are a scale of 0.6, which is rounded to 16/27.

    Raises ConfigError when a setting is out of range.
    """

    overlap: float = 0.25
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise ConfigError(
                f"the overlap of tiles is {self.overlap}",
                expected=f"it must be from 0 to {MAX_OVERLAP}",
            )
        if not SCALES[0] <= self.scale <= SCALES[1]:
            raise ConfigError(
                f"the scale of tiles is {self.scale}",
                expected=f"it must be from {SCALES[0]} to {SCALES[1]}",
            )

    @property
    def unit(self) -> int:
        """How many pixels of the photo 16 px of the grid are."""
        return math.floor(STRIDE / self.scale + 0.5)

    def size(self, spec: ModelSpec) -> tuple[int, int]:
        """(height, width) of a tile in pixels of the photo."""
        height, width = (
            max(1, (2 * side * self.unit + STRIDE) // (2 * STRIDE)) for side in spec.size
        )
        return height, width

    def fits_one_tile(self, size: tuple[int, int], spec: ModelSpec) -> bool:
        """Whether a picture of `size` = (width, height) px fits one tile, and so is not cut."""
        height, width = self.size(spec)
        return size[0] <= width and size[1] <= height
