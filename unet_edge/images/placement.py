"""Pictures onto the grid and masks back: one geometry for training, conversion and device.

`Placement` puts a decoded picture on the model's grid and brings a mask back to the picture's own
size. Pillow resamples pictures in 8-bit fixed point, and labels are resampled with integers. So
x86 and ARM give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.images.scaled_decoding import reduction
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

    The picture fills the box `top, left, placed_height, placed_width`, in px of the grid. The rest
    is padding.
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
        """Place a picture of `size` = (width, height) px, in Pillow's order.

        Raises ConfigError for a picture without pixels.
        """
        width, height = size
        if width < 1 or height < 1:
            raise ConfigError(f"a picture of {width}x{height} px has no pixels")
        match spec.fit:
            case "stretch":
                placed_height, placed_width = spec.height, spec.width
            case "letterbox":
                # Integers give the same box on every machine. One side fills the grid. The other
                # is rounded, halves upwards, and is at least 1.
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

        The picture must have the planned size, or the size that the JPEG decoder reduces it to.
        Raises ConfigError otherwise.
        """
        self._require_size(picture)
        # Two calls, horizontal first. Each pass rounds to 8 bits, so the order changes the result.
        # Pillow before 13 uses this order; Pillow 13 picks the cheaper one.
        # https://github.com/python-pillow/Pillow/pull/9549
        resampling = FILTERS[self.spec.resample]
        resized = picture.resize((self.placed_width, picture.height), resampling).resize(
            (self.placed_width, self.placed_height), resampling
        )
        if (self.placed_height, self.placed_width) == self.spec.size:
            return np.array(resized)
        grid = np.empty((*self.spec.size, 3), np.uint8)
        # By rows: broadcasting three bytes to each pixel takes a third of the time of placing.
        row = np.frombuffer(bytes(self.spec.pad_color) * self.spec.width, np.uint8)
        grid.reshape(self.spec.height, -1)[:] = row
        grid[self.box] = np.asarray(resized)
        return grid

    def place_labels(self, labels: Labels) -> Labels:
        """Sample a mask of the picture's size onto the grid; padding becomes IGNORE.

        `labels` is uint8 (H, W). Raises ConfigError for a mask of another size.
        """
        if labels.shape != (self.height, self.width):
            raise ConfigError(
                f"the mask has {labels.shape[1]}x{labels.shape[0]} px, "
                f"the picture {self.width}x{self.height}",
                expected="they must be equal",
            )
        grid = np.full(self.spec.size, IGNORE, np.uint8)
        grid[self.box] = resize_labels(labels, self.placed_height, self.placed_width)
        return grid

    def restore(self, labels: Labels) -> Labels:
        """Bring labels (H, W) of the grid back to the picture's own size, (height, width).

        Each pixel gets the label of the grid cell that contains its centre. Raises ConfigError for
        labels of another size than the grid's.
        """
        if labels.shape != self.spec.size:
            raise ConfigError(
                f"the labels have shape {labels.shape}",
                expected=f"the grid has {self.spec.size}",
            )
        return resize_labels(labels[self.box], self.height, self.width)

    @property
    def placed_size(self) -> tuple[int, int]:
        """(width, height) px of the picture on the grid."""
        return self.placed_width, self.placed_height

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the grid that the picture fills."""
        return (
            slice(self.top, self.top + self.placed_height),
            slice(self.left, self.left + self.placed_width),
        )

    def _require_size(self, picture: Image.Image) -> None:
        full_size = (self.width, self.height)
        allowed = {full_size}
        if self.spec.decoding == "scaled":
            factor = reduction(full_size, self.placed_size)
            allowed.add((self.width // factor, self.height // factor))
        if picture.size not in allowed:
            raise ConfigError(
                f"the picture has {picture.width}x{picture.height} px",
                expected=f"the placement is for {self.width}x{self.height} px",
            )


def place(picture: Image.Image, spec: ModelSpec) -> Pixels:
    """Place a decoded RGB picture on the grid: uint8 (H, W, 3). For files, use `grid_of`."""
    return Placement.plan(picture.size, spec).place(picture)


def resize_labels(labels: Labels, height: int, width: int) -> Labels:
    """Resample labels (H, W) to (height, width) by nearest neighbour, with integers."""
    # Not by Pillow, whose nearest neighbour adds up floats that machines may round differently.
    if labels.shape == (height, width):
        return labels.copy()
    rows, columns = nearest_cells(labels.shape[0], height), nearest_cells(labels.shape[1], width)
    # Columns first on the small side, then whole rows are copied: from 512x512 to 12 megapixels
    # that is 20 times as fast as fancy indexing.
    resized: Labels
    if height >= labels.shape[0]:
        resized = labels.take(columns, axis=1).take(rows, axis=0)
    else:
        resized = labels.take(rows, axis=0).take(columns, axis=1)
    return resized


def nearest_cells(source: int, target: int) -> NDArray[np.int64]:
    """For each of `target` pixels, the one of `source` cells with its centre: int64 (target,)."""
    # The centre of target pixel j is at (j + 1/2) * source / target; its cell is the floor of that.
    cells: NDArray[np.int64] = (2 * np.arange(target) + 1) * source // (2 * target)
    return cells
