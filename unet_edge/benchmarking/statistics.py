"""Intervals and significance of times that were measured in rounds.

Times are compared as ratios, so everything here works on their logarithms. The rounds of a run are
its independent samples; single pictures are not, because a disturbance lasts for many of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONFIDENCE = 0.95
_DRAWS = 1000  # of rounds


@dataclass(frozen=True)
class Ratio:
    """A ratio of times, by the mean of its logarithm, with the mean's standard error.

    `freedom` is the number of degrees of freedom of Student's t. `error`, and all that follows from
    it, is NaN where there are too few rounds to know it.
    """

    value: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The chance of a ratio at least this far from 1 if there is no difference."""
        if math.isnan(self.error) or self.error == 0:  # 0: a clock too coarse to see any
            return self.error if math.isnan(self.error) else float(self.value == 1)
        return tail(abs(math.log(self.value)) / self.error, self.freedom)

    @property
    def width(self) -> float:
        """The factor from the value to either end of its interval of 95 % confidence."""
        if math.isnan(self.error):
            return self.error
        return math.exp(_quantile(1 - _CONFIDENCE, self.freedom) * self.error)

    @property
    def text(self) -> str:
        """The ratio and its interval, such as "1.103 (1.086 to 1.121)"."""
        width = self.width
        if math.isnan(width):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.value / width:.3f} to {self.value * width:.3f})"

    def to_dict(self) -> dict[str, float]:
        """As plain JSON values."""
        width = self.width
        return {"value": self.value, "low": self.value / width, "high": self.value * width}


def spread(times: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a typical round's time, as a share of that time.

    NaN for a single round.
    """
    return _ratio(np.log(times)).width - 1


def bootstrap(rounds: Sequence[Sequence[float]], percentile: float) -> tuple[float, float]:
    """The 95 % interval of a percentile of all times, by drawing rounds anew.

    Whole rounds are drawn, because the times of one are not independent. NaN for fewer than three.
    """
    if len(rounds) < 3:
        return math.nan, math.nan
    random = np.random.default_rng(0)  # the same interval for the same times
    draws = random.integers(len(rounds), size=(_DRAWS, len(rounds)))
    times = [np.concatenate([rounds[index] for index in draw]) for draw in draws]
    values = [float(np.percentile(drawn, percentile)) for drawn in times]
    low, high = np.percentile(values, (50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)))
    return float(low), float(high)


def paired(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratio of the times of two programs that were measured in the same rounds."""
    return _ratio(np.log(times) - np.log(others))


def independent(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratio of the times of two runs, by Welch's t-test."""
    a, b = np.log(times), np.log(others)
    value = math.exp(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Ratio(value, math.nan, math.nan)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    shares = parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    freedom = sum(parts) ** 2 / shares if shares else math.inf
    return Ratio(value, math.sqrt(sum(parts)), freedom)


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
    steps = 1000
    angles = low + (np.arange(steps) + 0.5) * (high - low) / steps
    return float(np.mean(np.cos(angles) ** (freedom - 1))) * (high - low)


@functools.lru_cache
def _quantile(p: float, freedom: float) -> float:
    """The t whose `tail` is `p`."""
    if math.isinf(freedom):
        return 0.0  # without any variance, every interval is a point
    low, high = 0.0, 1e3
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > p else (low, middle)
    return high


def _ratio(logs: NDArray[np.float64]) -> Ratio:
    """The typical ratio behind the logarithms of several."""
    value = math.exp(logs.mean())
    if len(logs) < 2:
        return Ratio(value, math.nan, math.nan)
    return Ratio(value, float(logs.std(ddof=1)) / math.sqrt(len(logs)), len(logs) - 1)
