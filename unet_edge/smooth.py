"""Scores at a photo's own size, in strips: smooth edges, and probabilities.

A model's scores are enlarged bilinearly between pixel centres and only then compared, so edges
run between the grid's cells instead of along them. A 12-megapixel photo's scores would take
96 MB for two classes; a strip of rows at a time takes a few. Scores are taken relative to class
0's, which changes neither the arg-max nor the softmax and saves a class. Every step is one
correctly rounded float32 operation, so x86 and ARM give the same bytes for the same scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_edge.imaging import Labels, resize_labels

Edges = Literal["nearest", "smooth"]
"""A photo's pixel takes the label of the grid cell its centre falls in, or the best class of the
scores interpolated there."""

Logits = NDArray[np.float32]

# 1 MiB of float32 for one class, about half a dozen of which are alive at once.
_STRIP_PIXELS = 2**18


def smooth_labels(logits: Logits, height: int, width: int) -> Labels:
    """The class of the highest interpolated score, the first on a tie: uint8 (height, width).

    `logits` is float32 (h, w, classes), what the grid has of the photo.
    """
    labels = np.zeros((height, width), np.uint8)
    for rows, planes in _strips(logits, height, width):
        strip = labels[rows]
        best = np.zeros(strip.shape, np.float32)  # class 0, relative to itself
        for index, plane in enumerate(planes, start=1):
            strip[plane > best] = index
            np.maximum(best, plane, out=best)
    return labels


def probabilities(logits: Logits, height: int, width: int, edges: Edges) -> NDArray[np.uint8]:
    """Softmax of the scores as round(255 p), uint8 (classes, height, width).

    `logits` is as in `smooth_labels`. With "nearest", each pixel has its grid cell's
    probabilities; with "smooth", those of the interpolated scores.
    """
    result = np.empty((logits.shape[-1], height, width), np.uint8)
    if edges == "nearest":
        small = probabilities(logits, logits.shape[0], logits.shape[1], "smooth")
        for plane, target in zip(small, result, strict=True):
            target[:] = resize_labels(plane, height, width)
        return result
    for rows, planes in _strips(logits, height, width):
        relative = [np.zeros_like(result[0, rows], np.float32), *planes]
        highest = np.maximum.reduce(relative)
        powers = [np.exp(plane - highest) for plane in relative]
        total = np.add.reduce(powers)
        for index, power in enumerate(powers):
            result[index, rows] = np.rint(power / total * np.float32(255))
    return result


def _strips(logits: Logits, height: int, width: int) -> Iterator[tuple[slice, Iterator[Logits]]]:
    """Rows of the photo, and for each class but 0 its scores there less class 0's, (rows, W)."""
    grid = np.ascontiguousarray(np.moveaxis(logits[..., 1:] - logits[..., :1], -1, 0))
    down, across = _Steps.of(logits.shape[0], height), _Steps.of(logits.shape[1], width)
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        yield rows, (_enlarged(plane, rows, down, across) for plane in grid)


@dataclass(frozen=True)
class _Steps:
    """For each target pixel the two source pixels it lies between and the second one's weight."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, source: int, target: int) -> _Steps:
        # Centre of target pixel j is (j + 1/2) * source / target - 1/2 in source pixels; beyond
        # the outer centres, the outer pixel. Whole numbers: no rounding before the division.
        position = ((2 * np.arange(target) + 1) * source - target).clip(
            0, 2 * target * (source - 1)
        )
        first, rest = np.divmod(position, 2 * target)
        weight = (rest / (2 * target)).astype(np.float32)
        return cls(first, np.minimum(first + 1, source - 1), weight)


def _enlarged(plane: Logits, rows: slice, down: _Steps, across: _Steps) -> Logits:
    upper, lower = plane[down.first[rows]], plane[down.second[rows]]
    tall = upper + (lower - upper) * down.weight[rows, None]
    left = tall.take(across.first, axis=1)
    result = tall.take(across.second, axis=1)
    result -= left
    result *= across.weight
    result += left
    return result
