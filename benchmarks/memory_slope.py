"""Whether memory grows: a straight line through samples, and how sure its slope is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCKS = 50
_DRAWS = 2000


def memory_slope(samples: NDArray[np.int64], step: int) -> tuple[float, float, float]:
    """The slope of memory in bytes a picture, and its 95 % interval.

    `samples` are in KiB, one for every `step` pictures.
    """
    pictures = np.arange(len(samples)) * step
    slope, intercept = np.polyfit(pictures, samples * 1024.0, 1)
    residuals = samples * 1024.0 - (slope * pictures + intercept)
    # A block bootstrap of the residuals: neighbouring samples are not independent.
    random = np.random.default_rng(0)
    length = max(1, len(samples) // _BLOCKS)
    slopes = []
    for _ in range(_DRAWS):
        starts = random.integers(0, len(samples) - length + 1, -(-len(samples) // length))
        drawn = np.concatenate([residuals[start : start + length] for start in starts])
        slopes.append(np.polyfit(pictures, slope * pictures + drawn[: len(pictures)], 1)[0])
    low, high = np.quantile(slopes, (0.025, 0.975))
    return float(slope), float(low), float(high)
