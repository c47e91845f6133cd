"""COCO's run lengths: outside, inside, outside, … down the columns, as numbers and as text.

The text is that of the COCO API's maskApi.c. Each character holds five bits, the lowest first, as
an offset from "0". Bit 5 says that more bits follow, and bit 4 of the last character is the sign.
From the fourth run on, the number is the difference to the run two before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def mask_to_runs(mask: NDArray[np.bool_]) -> list[int]:
    """The run lengths of a mask, bool (H, W); the first run is outside and may be 0."""
    flat = np.concatenate(([False], mask.T.ravel()))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs: list[int] = np.diff(changes, prepend=0, append=mask.size).tolist()
    return runs


def runs_to_mask(runs: Sequence[int], height: int, width: int) -> NDArray[np.bool_] | None:
    """Make a mask, bool (H, W), of run lengths; None when they do not add up to the picture."""
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        return None
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(width, height).T


def parse_runs(text: str) -> list[int] | None:
    """Decode compressed run lengths (rleFrString); None when they are damaged."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return None if shift else runs


def format_runs(runs: Sequence[int]) -> str:
    """Compress run lengths (rleToString); `parse_runs` gives them back."""
    characters: list[str] = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            # The end: only the sign is left, and bit 4 says the same.
            more = value != (-1 if bits & 16 else 0)
            characters.append(chr(48 + bits + 32 * more))
    return "".join(characters)
