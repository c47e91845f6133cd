"""Contours: the connected regions of a mask, as closed lines along the edges of pixels.

Contours are exact: filled again, they give the same pixels. The time grows with the number of
corners, and a mask enlarged from the model's grid has no more corners than the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int64]
"""Corners (x, y) in px, int64 (N, 2), clockwise on the screen; the last joins the first."""


@dataclass(frozen=True, eq=False)
class ConnectedRegion:
    """Pixels that are connected by their edges: an outline, and the holes inside it."""

    outline: Ring
    holes: tuple[Ring, ...]

    @property
    def area(self) -> int:
        """The number of pixels, without the holes."""
        return _area(self.outline) - sum(_area(hole) for hole in self.holes)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, width, height) in px, as COCO writes it."""
        left, top = self.outline.min(axis=0).tolist()
        right, bottom = self.outline.max(axis=0).tolist()
        return left, top, right - left, bottom - top

    def mask(self) -> NDArray[np.bool_]:
        """The region's pixels, bool (height, width) of its box."""
        left, top, width, height = self.box
        # Vertical edges, at which a row changes between inside and outside.
        edges = np.zeros((height, width + 1), bool)
        for ring in (self.outline, *self.holes):
            for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if x == next_x:
                    edges[min(y, next_y) - top : max(y, next_y) - top, x - left] ^= True
        inside: NDArray[np.bool_] = np.logical_xor.accumulate(edges, axis=1)[:, :width]
        return inside


def connected_regions(mask: NDArray[np.bool_]) -> list[ConnectedRegion]:
    """Find the connected regions of a mask, bool (H, W), from the top down.

    Pixels that touch only at a corner are not connected.
    """
    rings, is_hole, left_of = _trace(mask)
    # A hole belongs to the region of the wall on its left, whose ring comes earlier.
    owner: list[int] = []
    for index, hole in enumerate(is_hole):
        owner.append(owner[left_of[index]] if hole else index)
    holes: dict[int, list[Ring]] = {index: [] for index, hole in enumerate(is_hole) if not hole}
    for index, hole in enumerate(is_hole):
        if hole:
            holes[owner[index]].append(rings[index])
    return [ConnectedRegion(rings[index], tuple(inner)) for index, inner in holes.items()]


def _trace(mask: NDArray[np.bool_]) -> tuple[list[Ring], list[bool], list[int]]:
    """Trace every ring, in the order of its first corner (top row, then left).

    Returns the rings, whether each is a hole, and for each hole the index of the ring that has the
    wall on its left (-1 for outlines). A wall is a straight piece of a ring.
    """
    padded = np.pad(mask, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    # At a corner, one or three of the four pixels are inside, or two that touch only in the corner
    # (a crossing).
    odd = upper_left ^ upper_right ^ lower_left ^ lower_right
    crossing = (upper_left == lower_right) & (upper_right == lower_left)
    crossing &= upper_left ^ upper_right
    y, x = np.nonzero(odd | crossing)
    # At a crossing two rings meet, or one ring meets itself. So a crossing counts as two corners:
    # the first has the wall to the left, the second the wall to the right.
    twice = crossing[y, x]
    y, x = (np.repeat(axis, 1 + twice) for axis in (y, x))
    second = np.concatenate(([False], (y[1:] == y[:-1]) & (x[1:] == x[:-1])))
    # The inside is not connected across a crossing, so each corner turns around one inside pixel:
    # left and up around the upper left one, left and down around the lower left one.
    falling = upper_left[y, x]  # a crossing's inside pixels: upper left and lower right
    goes_down = second == falling
    # In each row of corners, walls join the first and the second, the third and the fourth, and so
    # on. The same holds in each column, where the upward wall of a crossing comes first.
    across = np.arange(len(x)) ^ 1
    by_column = np.lexsort((goes_down, y, x))
    place = np.empty_like(by_column)
    place[by_column] = np.arange(len(x))
    along = by_column[place ^ 1]
    # Vertical walls, sorted by their upper ends, to find the wall left of a hole.
    uppers = by_column[::2]
    keys = x[uppers] * (mask.shape[0] + 1) + y[uppers]
    return _follow(mask, np.stack((x, y), axis=1), across, along, uppers, keys)


def _follow(
    mask: NDArray[np.bool_],
    corners: Ring,
    across: NDArray[np.int64],
    along: NDArray[np.int64],
    uppers: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> tuple[list[Ring], list[bool], list[int]]:
    rings: list[Ring] = []
    is_hole: list[bool] = []
    left_of: list[int] = []
    ring_of = [-1] * len(corners)
    next_across, next_along = across.tolist(), along.tolist()
    for start in range(len(corners)):
        if ring_of[start] >= 0:
            continue
        members: list[int] = []
        corner = start
        while ring_of[corner] < 0:
            other = next_across[corner]
            ring_of[corner] = ring_of[other] = len(rings)
            members += (corner, other)
            corner = next_along[other]
        # The first corner is the top left one: the pixel at its lower right is outside in a hole.
        x, y = corners[start].tolist()
        hole = not mask[y, x]
        wall = -1
        if hole:
            # The nearest change of the mask to the left, and the vertical wall at it.
            outside = np.flatnonzero(~mask[y, :x])
            column = int(outside[-1]) + 1 if len(outside) else 0
            key = column * (mask.shape[0] + 1) + y
            wall = ring_of[uppers[np.searchsorted(keys, key, side="right") - 1]]
        rings.append(corners[members])
        is_hole.append(hole)
        left_of.append(wall)
    return rings, is_hole, left_of


def _area(ring: Ring) -> int:
    """Pixels inside a ring, by the shoelace formula."""
    following = np.roll(ring, -1, axis=0)
    doubled = ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]
    return abs(int(doubled.sum())) // 2
