"""Connected regions by flood fill: the reference for faster code."""

from __future__ import annotations

import numpy as np

from unet_edge.spec import IGNORE

Pixels = frozenset[tuple[int, int]]


def filled(mask: np.ndarray) -> list[tuple[int, Pixels]]:
    """The label and the pixels (row, column) of each region but IGNORE, connected by edges."""
    remaining = {(int(r), int(c)) for r, c in np.argwhere(mask != IGNORE)}
    regions = []
    while remaining:
        stack = [min(remaining)]
        remaining.remove(stack[0])
        pixels = set(stack)
        while stack:
            r, c = stack.pop()
            for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if near in remaining and mask[near] == mask[r, c]:
                    remaining.remove(near)
                    pixels.add(near)
                    stack.append(near)
        regions.append((int(mask[r, c]), frozenset(pixels)))
    return regions
