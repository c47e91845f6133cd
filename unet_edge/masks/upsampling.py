"""Scores at a photo's own size, in strips: smooth edges, and probabilities.

A model's scores are enlarged bilinearly between pixel centres and only then compared, so edges
run between the grid's cells instead of along them. A 12-megapixel photo's scores would take
96 MB for two classes; a strip of rows at a time takes a few. Scores are taken relative to class
0's, which changes neither the arg-max nor the softmax and saves a class. Every step is one
correctly rounded float32 operation, so x86 and ARM give the same bytes for the same scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_edge.images.placement import Labels, nearest_cells, resize_labels

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
    labels = np.empty((height, width), np.uint8)
    for rows, planes in strips(logits, height, width, "smooth"):
        choose(planes, labels[rows])
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
    for rows, planes in strips(logits, height, width, "smooth"):
        share(planes, result[:, rows])
    return result


def choose(planes: Iterable[Logits], labels: Labels) -> None:
    """Write the class of the highest score into `labels`, the first on a tie.

    `planes` are each class's scores but class 0's, relative to class 0's, of the shape of `labels`.
    """
    labels[:] = 0
    best = np.zeros(labels.shape, np.float32)  # class 0, relative to itself
    for index, plane in enumerate(planes, start=1):
        labels[plane > best] = index
        np.maximum(best, plane, out=best)


def share(planes: Iterable[Logits], result: NDArray[np.uint8]) -> None:
    """Write the softmax as round(255 p) into `result`, uint8 (classes, H, W); see `choose`."""
    relative = [np.zeros(result.shape[1:], np.float32), *planes]
    highest = np.maximum.reduce(relative)
    powers = [np.exp(plane - highest) for plane in relative]
    total = np.add.reduce(powers)
    for target, power in zip(result, powers, strict=True):
        target[:] = np.rint(power / total * np.float32(255))


def strips(
    logits: Logits, height: int, width: int, edges: Edges
) -> Iterator[tuple[slice, Iterator[Logits]]]:
    """Rows of the photo, and for each class but 0 its scores there less class 0's, (rows, W).

    The planes are only to be read: they may be views of the scores.
    """
    grid = np.ascontiguousarray(np.moveaxis(logits[..., 1:] - logits[..., :1], -1, 0))
    step = max(1, _STRIP_PIXELS // width)
    enlarged: Callable[[Logits, slice], Logits]
    if (height, width) == logits.shape[:2]:
        enlarged = _same
    elif edges == "smooth":
        enlarged = partial(
            _between, _Steps.of(logits.shape[0], height), _Steps.of(logits.shape[1], width)
        )
    else:
        enlarged = partial(
            _repeated,
            nearest_cells(logits.shape[0], height),
            nearest_cells(logits.shape[1], width),
        )
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        yield rows, (enlarged(plane, rows) for plane in grid)


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


def _same(plane: Logits, rows: slice) -> Logits:
    return plane[rows]


def _repeated(
    down: NDArray[np.int64], across: NDArray[np.int64], plane: Logits, rows: slice
) -> Logits:
    return plane[down[rows]].take(across, axis=1)


def _between(down: _Steps, across: _Steps, plane: Logits, rows: slice) -> Logits:
    upper, lower = plane[down.first[rows]], plane[down.second[rows]]
    tall = upper + (lower - upper) * down.weight[rows, None]
    left = tall.take(across.first, axis=1)
    result = tall.take(across.second, axis=1)
    result -= left
    result *= across.weight
    result += left
    return result
