"""Pictures larger than the model: overlapping tiles, their scores blended at the photo's own size.

Tiles of one size are spread evenly over the photo, the outer ones flush with its sides, so that
each sees real surroundings. All but the last begin at multiples of the network's own step, 16 px
of the grid, and so see one place alike: moved by 16 px, two models changed 0.02 and 0.06 % of
their labels away from a tile's border; moved by 1 to 15 px, 0.7 to 1.3 %.

A tile is resampled onto the model's grid and its scores back to the tile's own pixels; where
tiles overlap, scores are averaged with weights that fall towards each tile's border, where the
model sees least. A block of pixels is finished as soon as no later tile touches it: what is kept
is the part of a row of tiles that the next row overlaps, not the photo's scores. Places are whole
numbers and each step is one correctly rounded float32 operation, so x86 and ARM give the same
bytes for the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.images.placement import Labels, Pixels, Placement
from unet_edge.masks.upsampling import Edges, Logits, choose, share, strips
from unet_edge.spec import ModelSpec

MAX_OVERLAP = 0.9
"""A pixel is then seen by a hundred tiles."""

STRIDE = 16
"""The deepest features of our networks have one value for 16x16 px of the grid."""

SCALES = (0.01, 8.0)
"""At 8 a grid of 384 px sees 48 px of the photo; at 0.01 any photo fits."""

Score = Callable[[Pixels], Logits]
"""From the model's grid, uint8 (H, W, 3), to its logits, float32 (H, W, classes)."""

Watch = Callable[[int, int], None]
"""Called after each tile: how many are done, and how many there are."""


@dataclass(frozen=True)
class Tiles:
    """How pictures larger than the model are cut.

    `overlap` is the share of a tile that its neighbour sees too, at least. `scale` is the size of
    the photo on the model's grid: at 1 a pixel of the photo is one of the grid, at 0.5 a tile
    takes in twice the grid's height and width. It is rounded so that 16 px of the grid are whole
    pixels of the photo. A model knows objects at the size of its training pictures: photos of
    640 px trained on at 384 px are a scale of 0.6, which is rounded to 16/27.

    Raises ConfigError for what is out of range.
    """

    overlap: float = 0.25
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise ConfigError(
                f"tiles overlap by {self.overlap}",
                fix=f"choose from 0 to {MAX_OVERLAP}",
            )
        if not SCALES[0] <= self.scale <= SCALES[1]:
            raise ConfigError(
                f"the tiles' scale is {self.scale}",
                fix=f"choose from {SCALES[0]} to {SCALES[1]}",
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

    def hold(self, size: tuple[int, int], spec: ModelSpec) -> bool:
        """Whether a picture of `size` = (width, height) px fits one tile, and so is not cut."""
        height, width = self.size(spec)
        return size[0] <= width and size[1] <= height


@dataclass(frozen=True, eq=False)
class Axis:
    """Tiles of `length` px along a side of `size` px of the photo.

    `starts` rise from 0 to size - length. `weights` are each tile's, float32 (length,); at each
    pixel they add up to 1, and are 1 where one tile is alone.
    """

    size: int
    length: int
    starts: tuple[int, ...]
    weights: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, size: int, tile: int, overlap: float, unit: int) -> Axis:
        """As few tiles as overlap by that share or more, spread evenly.

        All but the last start at a multiple of `unit` px, unless `overlap` leaves less between
        them.
        """
        length = min(size, tile)
        step = max(1, tile - math.floor(tile * overlap))
        unit = unit if step >= unit else 1
        step -= step % unit
        rest = size - length
        gaps = -(-rest // step)
        # Rounded up: no two starts are then further apart than `step`, nor is the last.
        starts = (*(-(-k * rest // (gaps * unit)) * unit for k in range(gaps)), rest)
        return cls(size, length, starts, normalised(_ramp(length), starts, size))

    @property
    def ends(self) -> tuple[int, ...]:
        """Where each tile's pixels are finished: at the next one's start, the last one's end."""
        return (*self.starts[1:], self.size)

    @property
    def shared(self) -> int:
        """The most pixels of a tile that a later tile sees too."""
        steps = (after - before for before, after in pairwise(self.starts))
        return self.length - min(steps, default=self.length)


def _ramp(length: int) -> NDArray[np.int64]:
    """1, 2, 3 … to the middle and back: between two tiles it is a straight ramp."""
    rising = np.arange(1, length + 1)
    return np.minimum(rising, rising[::-1])


def normalised(
    window: NDArray[np.int64], starts: tuple[int, ...], size: int
) -> tuple[NDArray[np.float32], ...]:
    """The weights of tiles that each have `window`, whole numbers above 0, of their sum."""
    total = np.zeros(size, np.int64)
    for start in starts:
        total[start : start + window.size] += window
    return tuple(
        (window / total[start : start + window.size]).astype(np.float32) for start in starts
    )


@dataclass(frozen=True, eq=False)
class Tiling:
    """A photo's rows and columns of tiles, and where each lies on the grid."""

    rows: Axis
    columns: Axis
    placement: Placement

    @classmethod
    def plan(cls, size: tuple[int, int], spec: ModelSpec, tiles: Tiles) -> Tiling:
        """Plan for a picture of `size` = (width, height) px, Pillow's order.

        Where the picture is narrower or lower than a tile, the rest of the grid is padding.
        """
        height, width = tiles.size(spec)
        rows = Axis.of(size[1], height, tiles.overlap, tiles.unit)
        columns = Axis.of(size[0], width, tiles.overlap, tiles.unit)
        # Whole, a tile fills the grid; else as much of it, rounded half up, but never nothing.
        placed_height = max(1, (2 * rows.length * spec.height + height) // (2 * height))
        placed_width = max(1, (2 * columns.length * spec.width + width) // (2 * width))
        placement = Placement(
            height=rows.length,
            width=columns.length,
            top=(spec.height - placed_height) // 2,
            left=(spec.width - placed_width) // 2,
            placed_height=placed_height,
            placed_width=placed_width,
            spec=spec,
        )
        return cls(rows, columns, placement)

    @property
    def count(self) -> int:
        """How often the model runs."""
        return len(self.rows.starts) * len(self.columns.starts)


def tiled_labels(
    picture: Image.Image, tiling: Tiling, score: Score, edges: Edges, watch: Watch
) -> Labels:
    """The class of each pixel's highest blended score, uint8 (h, w) of the picture."""
    labels = np.empty((tiling.rows.size, tiling.columns.size), np.uint8)
    for rows, columns, planes in blended(picture, tiling, score, edges, watch):
        choose(planes, labels[rows, columns])
    return labels


def tiled_probabilities(
    picture: Image.Image, tiling: Tiling, score: Score, edges: Edges, watch: Watch
) -> tuple[Labels, NDArray[np.uint8]]:
    """As `tiled_labels`, and the softmax of the scores as round(255 p), uint8 (classes, h, w)."""
    labels = np.empty((tiling.rows.size, tiling.columns.size), np.uint8)
    shares = np.empty((len(tiling.placement.spec.classes), *labels.shape), np.uint8)
    for rows, columns, planes in blended(picture, tiling, score, edges, watch):
        choose(planes, labels[rows, columns])
        share(planes, shares[:, rows, columns])
    return labels, shares


def blended(
    picture: Image.Image, tiling: Tiling, score: Score, edges: Edges, watch: Watch
) -> Iterator[tuple[slice, slice, Logits]]:
    """Rows and columns of finished pixels with their scores less class 0's.

    The scores are float32 (classes - 1, rows, columns). Each pixel comes once. What is held
    between tiles is classes - 1 planes of float32 of the rows that two rows of tiles share, and
    of the columns that two tiles of a row do.
    """
    down, across, placement = tiling.rows, tiling.columns, tiling.placement
    planes = len(placement.spec.classes) - 1
    above = np.empty((planes, down.shared, across.size), np.float32)
    beside = np.empty((planes, down.length, across.shared), np.float32)
    done = 0
    high = 0  # `above` is filled to here
    for top, bottom, row_weights in zip(down.starts, down.ends, down.weights, strict=True):
        wide = 0  # `beside` is filled to here
        for left, right, column_weights in zip(
            across.starts, across.ends, across.weights, strict=True
        ):
            crop = picture.crop((left, top, left + across.length, top + down.length))
            logits = score(placement.place(crop))[placement.box]
            for rows, enlarged in strips(logits, down.length, across.length, edges):
                scores = np.stack([plane * column_weights for plane in enlarged])
                scores *= row_weights[rows, None]
                # Add what tiles to the left have given, then rows of tiles above; keep what
                # tiles to the right and below will add to.
                scores[..., :wide] += beside[:, rows, :wide]
                beside[:, rows, : across.length - right + left] = scores[..., right - left :]
                ready = scores[..., : right - left]
                seen = ready[:, : max(0, high - rows.start)]
                seen += above[:, rows.start : rows.start + seen.shape[1], left:right]
                finished = ready[:, : max(0, bottom - top - rows.start)]
                # What is written lies above the rows that later strips read.
                first = max(0, rows.start - (bottom - top))
                kept = ready[:, finished.shape[1] :]
                above[:, first : first + kept.shape[1], left:right] = kept
                if finished.shape[1]:
                    start = top + rows.start
                    yield slice(start, start + finished.shape[1]), slice(left, right), finished
            wide = across.length - right + left
            done += 1
            watch(done, tiling.count)
        high = down.length - bottom + top
