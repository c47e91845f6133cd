"""Pictures onto the grid and masks back: the one geometry of training, conversion and device.

`Placement` puts a decoded picture on the model's grid and brings a mask back to the picture's own
size. Resampling of pictures is Pillow's 8-bit fixed-point code and resampling of labels is integer
arithmetic, so x86 and ARM give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.spec import IGNORE, ModelSpec, Resample

Pixels = NDArray[np.uint8]
"""RGB pixels, uint8, shape (H, W, 3)."""

Labels = NDArray[np.uint8]
"""Class indices, uint8, shape (H, W); 255 is ignored."""

FILTERS: dict[Resample, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
}


@dataclass(frozen=True)
class Placement:
    """Where a picture of (height, width) px lies on the model's grid.

    `top, left, placed_height, placed_width` is the box the picture fills; the rest is padding.
    """

    height: int
    width: int
    top: int
    left: int
    placed_height: int
    placed_width: int
    spec: ModelSpec

    @classmethod
    def plan(cls, size: tuple[int, int], spec: ModelSpec) -> Placement:
        """Plan for a picture of `size` = (width, height) px, Pillow's order."""
        width, height = size
        if width < 1 or height < 1:
            raise ConfigError(f"a picture of {width}x{height} px has no pixels")
        match spec.fit:
            case "stretch":
                placed_height, placed_width = spec.height, spec.width
            case "letterbox":
                # Whole numbers all the way: the same box on every machine. The longer side
                # fills the grid; the other is rounded half up, and is never empty.
                if width * spec.height >= height * spec.width:
                    placed_width = spec.width
                    placed_height = (2 * height * spec.width + width) // (2 * width)
                else:
                    placed_height = spec.height
                    placed_width = (2 * width * spec.height + height) // (2 * height)
                placed_height = min(max(placed_height, 1), spec.height)
                placed_width = min(max(placed_width, 1), spec.width)
            case _:
                assert_never(spec.fit)
        return cls(
            height=height,
            width=width,
            top=(spec.height - placed_height) // 2,
            left=(spec.width - placed_width) // 2,
            placed_height=placed_height,
            placed_width=placed_width,
            spec=spec,
        )

    def place(self, picture: Image.Image) -> Pixels:
        """Resample an RGB picture onto the grid: uint8 (H, W, 3) of the model's size.

        The picture has the planned size, or is what the decoder reduced it to.
        """
        self._require_size(picture)
        # Two calls, horizontal first: each pass rounds to 8 bits, so the order shows. Pillow 13
        # chooses the cheaper one (python-pillow/Pillow#9549), all before it run this one.
        used = FILTERS[self.spec.resample]
        resized = picture.resize((self.placed_width, picture.height), used).resize(
            (self.placed_width, self.placed_height), used
        )
        if (self.placed_height, self.placed_width) == self.spec.size:
            return np.array(resized)
        grid = np.empty((*self.spec.size, 3), np.uint8)
        # By rows: three bytes broadcast to each pixel of 512x512 took 1 ms, a third of placing.
        row = np.frombuffer(bytes(self.spec.pad_color) * self.spec.width, np.uint8)
        grid.reshape(self.spec.height, -1)[:] = row
        grid[self.box] = np.asarray(resized)
        return grid

    def place_labels(self, labels: Labels) -> Labels:
        """Sample a mask of the picture's size onto the grid; padding becomes IGNORE."""
        if labels.shape != (self.height, self.width):
            raise ConfigError(
                f"the mask has {labels.shape[1]}x{labels.shape[0]} px, "
                f"the picture {self.width}x{self.height}"
            )
        grid = np.full(self.spec.size, IGNORE, np.uint8)
        grid[self.box] = resize_labels(labels, self.placed_height, self.placed_width)
        return grid

    def restore(self, labels: Labels) -> Labels:
        """Bring labels (H, W) of the grid back to the picture's own size, (height, width).

        Each pixel takes the label of the grid cell that its centre falls in.
        """
        if labels.shape != self.spec.size:
            raise ConfigError(f"labels of shape {labels.shape} do not fit grid {self.spec.size}")
        return resize_labels(labels[self.box], self.height, self.width)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the grid that the picture fills."""
        return (
            slice(self.top, self.top + self.placed_height),
            slice(self.left, self.left + self.placed_width),
        )

    def _require_size(self, picture: Image.Image) -> None:
        whole = (self.width, self.height)
        allowed = {whole}
        if self.spec.decoding == "scaled":
            factor = reduction(whole, self.spec)
            allowed.add((self.width // factor, self.height // factor))
        if picture.size not in allowed:
            raise ConfigError(
                f"the placement is for {self.width}x{self.height} px, "
                f"the picture has {picture.width}x{picture.height}"
            )


def reduction(size: tuple[int, int], spec: ModelSpec) -> int:
    """What the JPEG decoder divides the sides of an upright photo by under "scaled": 8, 4, 2 or 1.

    The largest that divides both sides of `size` = (width, height) px, so that the reduced photo
    shows exactly the same, and that leaves each at least 1.25 times as long as on the grid.
    """
    placement = Placement.plan(size, spec)
    for factor in (8, 4, 2):
        if all(
            side % factor == 0 and 4 * side >= 5 * factor * placed
            for side, placed in zip(
                size, (placement.placed_width, placement.placed_height), strict=True
            )
        ):
            return factor
    return 1


def place(picture: Image.Image, spec: ModelSpec) -> Pixels:
    """Plan and place a picture that is decoded; files go through `grid_of`."""
    return Placement.plan(picture.size, spec).place(picture)


def resize_labels(labels: Labels, height: int, width: int) -> Labels:
    """Nearest-neighbour resampling by pixel centres, in whole numbers.

    Pillow's nearest accumulates floating-point steps, which may round differently per machine.
    """
    if labels.shape == (height, width):
        return labels.copy()
    rows, columns = nearest_cells(labels.shape[0], height), nearest_cells(labels.shape[1], width)
    # Columns first on the small side, then whole rows are copied: 20 times as
    # fast as fancy indexing from 512x512 to 12 MP.
    resized: Labels
    if height >= labels.shape[0]:
        resized = labels.take(columns, axis=1).take(rows, axis=0)
    else:
        resized = labels.take(rows, axis=0).take(columns, axis=1)
    return resized


def nearest_cells(source: int, target: int) -> NDArray[np.int64]:
    """Which of `source` cells the centre of each of `target` pixels falls in, int64 (target,)."""
    # Centre of target pixel j is (j + 1/2) * source / target; its cell is the floor of that.
    cells: NDArray[np.int64] = (2 * np.arange(target) + 1) * source // (2 * target)
    return cells
