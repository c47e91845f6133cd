"""Intervals and significance of times that were measured in rounds.

Times are compared as ratios, so everything here works on their logarithms. The rounds of a run are
its independent samples; single pictures are not, because a disturbance lasts for many of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """A ratio of times with its interval of 95 % confidence; `p` that it is 1 by chance.

    `low`, `high` and `p` are NaN where there are too few rounds to know them.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def width(self) -> float:
        """The factor from the value to either end of the interval."""
        return self.high / self.value

    @property
    def text(self) -> str:
        """The ratio and its interval, such as "1.103 (1.086 to 1.121)"."""
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def spread(times: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a typical round's time, as a share of that time.

    NaN for a single round.
    """
    return _ratio(np.log(times)).width - 1


def paired(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratio of the times of two programs that were measured in the same rounds."""
    return _ratio(np.log(times) - np.log(others))


def independent(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratio of the times of two runs, by Welch's t-test."""
    a, b = np.log(times), np.log(others)
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return _of(difference, math.nan, math.nan)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    shares = parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    freedom = sum(parts) ** 2 / shares if shares else math.inf
    return _of(difference, math.sqrt(sum(parts)), freedom)


def adjusted(p: Sequence[float]) -> list[float]:
    """Holm's adjustment: the chance of any of these by chance stays below the level chosen."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    result, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, p[index] * (len(p) - rank)))
        result[index] = least
    return result


def tail(t: float, freedom: float) -> float:
    """The probability that Student's t is beyond `t` on either side."""
    # With x = sqrt(freedom) * tan(angle), the density becomes a power of the cosine.
    edge = math.atan(t / math.sqrt(freedom))
    outside, inside = (
        _integral(freedom, low, high) for low, high in ((edge, math.pi / 2), (0.0, edge))
    )
    return outside / (outside + inside)


def _integral(freedom: float, low: float, high: float) -> float:
    steps = 2000
    angles = low + (np.arange(steps) + 0.5) * (high - low) / steps
    return float(np.mean(np.cos(angles) ** (freedom - 1))) * (high - low)


def _quantile(p: float, freedom: float) -> float:
    """The t whose `tail` is `p`."""
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > p else (low, middle)
    return high


def _ratio(logs: NDArray[np.float64]) -> Ratio:
    """The typical ratio behind the logarithms of several, by Student's t-test."""
    if len(logs) < 2:
        return _of(float(logs.mean()), math.nan, math.nan)
    return _of(float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs)), len(logs) - 1)


def _of(mean: float, error: float, freedom: float) -> Ratio:
    """The ratio whose logarithm is `mean`, known to the standard error `error`."""
    value = math.exp(mean)
    if math.isnan(error):
        return Ratio(value, math.nan, math.nan, math.nan)
    if not error:  # a clock too coarse to see a difference
        return Ratio(value, value, value, float(mean == 0))
    width = math.exp(_quantile(1 - _CONFIDENCE, freedom) * error)
    return Ratio(value, value / width, value * width, tail(abs(mean) / error, freedom))
