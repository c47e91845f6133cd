"""An agreement as text, the same wherever one is shown."""

from __future__ import annotations

import math

_STEPS = 100_000  # of 0.001 %


def percent(share: float) -> str:
    """A share (0..1) as per cent with three decimals, cut: 0.99999 is "99.999"; nan is "–".

    "100" means that every pixel agrees: nothing else is written so.
    """
    # Three decimals show the highest floor, 99.999 % (`bundle_file.FLOORS`). A share that is cut
    # never looks as if it had reached a floor that it missed. Floating point: 0.99999 * 100_000
    # may be a little under 99999, and a share just under 1 must not become 100.
    if math.isnan(share):
        return "–"
    if share >= 1:
        return "100"
    steps = min(math.floor(share * _STEPS + 1e-6), _STEPS - 1)
    return f"{steps / 1000:.3f}"
