"""An agreement as text, the same in every table and message."""

from __future__ import annotations

import math

_STEPS = 100_000  # of 0.001 %


def percent(share: float) -> str:
    """Format a share (0..1) in per cent with three decimals, rounded down; nan is "–".

    0.99999 is "99.999". Only a share of 1 is "100": every pixel agrees.
    """
    # Three decimals show the highest floor, 99.999 % (`bundle_file.FLOORS`). Rounding down, a
    # share that missed its floor never looks as if it reached it. Because of floating point,
    # 0.99999 * 100_000 may be slightly less than 99999, and a share just under 1 must not be 100.
    if math.isnan(share):
        return "–"
    if share >= 1:
        return "100"
    steps = min(math.floor(share * _STEPS + 1e-6), _STEPS - 1)
    return f"{steps / 1000:.3f}"
