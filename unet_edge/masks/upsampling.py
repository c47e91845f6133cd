"""Scores at a photo's own size, in strips: smooth edges, and probabilities.

Scores are interpolated bilinearly between pixel centres, and then compared. So edges run between
the cells of the grid instead of along them. Strips of rows save memory: all scores of a
12-megapixel photo take 96 MB for two classes. Scores are relative to those of class 0, which saves
a class and changes neither the arg-max nor the softmax. Every step is one correctly rounded float32
operation, so x86 and ARM give the same bytes for the same scores.
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
"""A pixel of the photo gets the label of the grid cell that contains its centre ("nearest"), or the
class with the highest interpolated score ("smooth")."""

Logits = NDArray[np.float32]

# 1 MiB of float32 for one class; about six such arrays are in memory at once.
_STRIP_PIXELS = 2**18


def smooth_labels(logits: Logits, height: int, width: int) -> Labels:
    """The class of the highest interpolated score, the first on a tie: uint8 (height, width).

    `logits` is float32 (h, w, classes): the part of the grid that the photo fills.
    """
    labels = np.empty((height, width), np.uint8)
    for rows, planes in score_strips(logits, height, width, "smooth"):
        write_arg_max(planes, labels[rows])
    return labels


def probabilities(logits: Logits, height: int, width: int, edges: Edges) -> NDArray[np.uint8]:
    """Softmax of the scores as round(255 p), uint8 (classes, height, width).

    `logits` is as in `smooth_labels`. With "nearest", each pixel gets the probabilities of its grid
    cell; with "smooth", those of the interpolated scores.
    """
    result = np.empty((logits.shape[-1], height, width), np.uint8)
    if edges == "nearest":
        small = probabilities(logits, logits.shape[0], logits.shape[1], "smooth")
        for plane, target in zip(small, result, strict=True):
            target[:] = resize_labels(plane, height, width)
        return result
    for rows, planes in score_strips(logits, height, width, "smooth"):
        write_softmax(planes, result[:, rows])
    return result


def write_arg_max(planes: Iterable[Logits], labels: Labels) -> None:
    """Write the class of the highest score into `labels`, uint8 (H, W), the first on a tie.

    `planes` holds the scores of each class except class 0, relative to those of class 0, (H, W).
    """
    labels[:] = 0
    best = np.zeros(labels.shape, np.float32)  # class 0, relative to itself
    for index, plane in enumerate(planes, start=1):
        labels[plane > best] = index
        np.maximum(best, plane, out=best)


def write_softmax(planes: Iterable[Logits], result: NDArray[np.uint8]) -> None:
    """Write the softmax as round(255 p) into `result`, uint8 (classes, H, W).

    `planes` is as in `write_arg_max`.
    """
    relative = [np.zeros(result.shape[1:], np.float32), *planes]
    highest = np.maximum.reduce(relative)
    powers = [np.exp(plane - highest) for plane in relative]
    total = np.add.reduce(powers)
    for target, power in zip(result, powers, strict=True):
        target[:] = np.rint(power / total * np.float32(255))


def score_strips(
    logits: Logits, height: int, width: int, edges: Edges
) -> Iterator[tuple[slice, Iterator[Logits]]]:
    """Yield strips of the photo's rows, each with the scores of each class except class 0.

    The scores are relative to those of class 0, float32 (rows, W). Do not write into them: they may
    be views.
    """
    grid = np.ascontiguousarray(np.moveaxis(logits[..., 1:] - logits[..., :1], -1, 0))
    step = max(1, _STRIP_PIXELS // width)
    enlarged: Callable[[Logits, slice], Logits]
    if (height, width) == logits.shape[:2]:
        enlarged = _same
    elif edges == "smooth":
        enlarged = partial(
            _interpolated,
            _Neighbours.of(logits.shape[0], height),
            _Neighbours.of(logits.shape[1], width),
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
class _Neighbours:
    """For each target pixel, the two source pixels beside it and the weight of the second one."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, source: int, target: int) -> _Neighbours:
        # The centre of target pixel j is at (j + 1/2) * source / target - 1/2 in source pixels, or
        # at the outermost source pixel. Integers, so that nothing is rounded before the division.
        position = ((2 * np.arange(target) + 1) * source - target).clip(
            0, 2 * target * (source - 1)
        )
        first, remainder = np.divmod(position, 2 * target)
        weight = (remainder / (2 * target)).astype(np.float32)
        return cls(first, np.minimum(first + 1, source - 1), weight)


def _same(plane: Logits, rows: slice) -> Logits:
    return plane[rows]


def _repeated(
    down: NDArray[np.int64], across: NDArray[np.int64], plane: Logits, rows: slice
) -> Logits:
    return plane[down[rows]].take(across, axis=1)


def _interpolated(down: _Neighbours, across: _Neighbours, plane: Logits, rows: slice) -> Logits:
    upper, lower = plane[down.first[rows]], plane[down.second[rows]]
    tall = upper + (lower - upper) * down.weight[rows, None]
    left = tall.take(across.first, axis=1)
    result = tall.take(across.second, axis=1)
    result -= left
    result *= across.weight
    result += left
    return result
