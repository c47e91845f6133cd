"""Pictures larger than the model: overlapping tiles, their scores blended at the photo's own size.

Tiles of one size are spread evenly over the photo. The outer ones are flush with its sides, so
that every tile sees real surroundings. All but the last begin at multiples of the network's own
step, 16 px of the grid: tiles at other positions see the same place differently (see
docs/decisions/013-tiles.md).

A tile is resampled onto the model's grid, and its scores back to the tile's own pixels. Where
tiles overlap, scores are averaged with weights that fall towards each tile's border, where the
model sees least. A pixel is finished when no later tile covers it. So only the rows and columns
that tiles share are held, not the scores of the photo. Positions are whole numbers, and each step
is one correctly rounded float32 operation: x86 and ARM give the same bytes for the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import Labels, Pixels, Placement
from unet_edge.masks.upsampling import Edges, Logits, score_strips, write_arg_max, write_softmax
from unet_edge.runtime.tile_settings import Tiles
from unet_edge.spec import ModelSpec

Score = Callable[[Pixels], Logits]
"""From the model's grid, uint8 (H, W, 3), to its logits, float32 (H, W, classes)."""

Watch = Callable[[int, int], None]
"""Called after each tile with the number of finished tiles and the number of all."""


@dataclass(frozen=True, eq=False)
class Span:
    """The pixels of one tile along a side of the photo.

    The tile begins at pixel `start`. Its pixels before `end` are finished with this tile, because
    no later tile sees them. Earlier tiles see its first `seen` pixels too. `weights` is float32
    (length,).
    """

    start: int
    end: int
    seen: int
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Axis:
    """Tiles of `length` px along a side of `size` px of the photo.

    `starts` rise from 0 to size - length. `weights` holds the weights of each tile, float32
    (length,). At each pixel the weights add up to 1; where one tile is alone, its weight is 1.
    """

    size: int
    length: int
    starts: tuple[int, ...]
    weights: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, size: int, tile: int, overlap: float, unit: int) -> Axis:
        """As few tiles as overlap by the share `overlap` or more, spread evenly.

        All but the last start at a multiple of `unit` px, unless the overlap leaves less than
        `unit` px between two starts.
        """
        length = min(size, tile)
        step = max(1, tile - math.floor(tile * overlap))
        unit = unit if step >= unit else 1
        step -= step % unit
        last = size - length
        gaps = -(-last // step)
        # Rounded up: no two starts are then further apart than `step`, nor is the last.
        starts = (*(-(-k * last // (gaps * unit)) * unit for k in range(gaps)), last)
        return cls(size, length, starts, normalised(_ramp(length), starts, size))

    @property
    def spans(self) -> tuple[Span, ...]:
        """Each tile's pixels, in order."""
        ends = (*self.starts[1:], self.size)
        seen = (0, *(before + self.length - after for before, after in pairwise(self.starts)))
        return tuple(map(Span, self.starts, ends, seen, self.weights))

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
    """The weights of tiles: `window`, whole numbers above 0, divided by the sum at each pixel."""
    total = np.zeros(size, np.int64)
    for start in starts:
        total[start : start + window.size] += window
    return tuple(
        (window / total[start : start + window.size]).astype(np.float32) for start in starts
    )


@dataclass(frozen=True, eq=False)
class Tiling:
    """A photo's rows and columns of tiles, and the placement of a tile on the grid."""

    rows: Axis
    columns: Axis
    placement: Placement

    @classmethod
    def plan(cls, size: tuple[int, int], spec: ModelSpec, tiles: Tiles) -> Tiling:
        """Plan for a picture of `size` = (width, height) px, Pillow's order.

        Where the picture is narrower or lower than a tile, the other part of the grid is padding.
        """
        height, width = tiles.size(spec)
        rows = Axis.of(size[1], height, tiles.overlap, tiles.unit)
        columns = Axis.of(size[0], width, tiles.overlap, tiles.unit)
        # A complete tile fills the grid, a smaller one its share of it, rounded half up.
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
        write_arg_max(planes, labels[rows, columns])
    return labels


def tiled_probabilities(
    picture: Image.Image, tiling: Tiling, score: Score, edges: Edges, watch: Watch
) -> tuple[Labels, NDArray[np.uint8]]:
    """As `tiled_labels`, and the softmax of the scores as round(255 p), uint8 (classes, h, w)."""
    labels = np.empty((tiling.rows.size, tiling.columns.size), np.uint8)
    shares = np.empty((len(tiling.placement.spec.classes), *labels.shape), np.uint8)
    for rows, columns, planes in blended(picture, tiling, score, edges, watch):
        write_arg_max(planes, labels[rows, columns])
        write_softmax(planes, shares[:, rows, columns])
    return labels, shares


def blended(
    picture: Image.Image, tiling: Tiling, score: Score, edges: Edges, watch: Watch
) -> Iterator[tuple[slice, slice, Logits]]:
    """Rows and columns of finished pixels with their scores relative to class 0's.

    The scores are float32 (classes - 1, rows, columns). Each pixel comes once.
    """
    height, width, placement = tiling.rows.length, tiling.columns.length, tiling.placement
    overlaps = _Overlaps(tiling)
    done = 0
    for row in tiling.rows.spans:
        for column in tiling.columns.spans:
            box = (column.start, row.start, column.start + width, row.start + height)
            logits = score(placement.place(picture.crop(box)))[placement.box]
            for strip, planes in score_strips(logits, height, width, edges):
                scores = np.stack([plane * column.weights for plane in planes])
                scores *= row.weights[strip, None]
                finished = overlaps.add(scores, strip, row, column)
                if finished.shape[1]:
                    top = row.start + strip.start
                    rows = slice(top, top + finished.shape[1])
                    yield rows, slice(column.start, column.end), finished
            done += 1
            watch(done, tiling.count)


class _Overlaps:
    """The weighted scores of pixels that a later tile sees too.

    Held are classes - 1 planes of float32: the rows that two rows of tiles share, over the width
    of the photo, and the columns that two tiles of a row share.
    """

    def __init__(self, tiling: Tiling) -> None:
        rows, columns = tiling.rows, tiling.columns
        planes = len(tiling.placement.spec.classes) - 1
        self._above = np.empty((planes, rows.shared, columns.size), np.float32)
        self._left = np.empty((planes, rows.length, columns.shared), np.float32)

    def add(self, scores: Logits, strip: slice, row: Span, column: Span) -> Logits:
        """Add the weighted scores of earlier tiles to `scores`; return the finished rows.

        `scores` is float32 (classes - 1, rows, width), the rows `strip` of the tile at `row` and
        `column`. The result is a view of it. What later tiles see too is kept.
        """
        width, height = column.end - column.start, row.end - row.start
        scores[..., : column.seen] += self._left[:, strip, : column.seen]
        self._left[:, strip, : scores.shape[-1] - width] = scores[..., width:]
        summed = scores[..., :width]
        above = self._above[..., column.start : column.end]
        seen = summed[:, : max(0, row.seen - strip.start)]
        seen += above[:, strip.start : strip.start + seen.shape[1]]
        finished = summed[:, : max(0, height - strip.start)]
        unfinished = summed[:, finished.shape[1] :]
        # These rows lie above the ones that later strips of this tile read.
        first = max(0, strip.start - height)
        above[:, first : first + unfinished.shape[1]] = unfinished
        return finished
