"""Connected regions by filling from pixel to pixel: the reference that faster code must equal."""

from __future__ import annotations

import numpy as np

from unet_edge.spec import IGNORE

Pixels = frozenset[tuple[int, int]]


def filled(mask: np.ndarray) -> list[tuple[int, Pixels]]:
    """The label and the pixels (row, column) of each region, connected by edges; not IGNORE."""
    left = {(int(r), int(c)) for r, c in np.argwhere(mask != IGNORE)}
    found = []
    while left:
        stack = [min(left)]
        left.remove(stack[0])
        pixels = set(stack)
        while stack:
            r, c = stack.pop()
            for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if near in left and mask[near] == mask[r, c]:
                    left.remove(near)
                    pixels.add(near)
                    stack.append(near)
        found.append((int(mask[r, c]), frozenset(pixels)))
    return found
