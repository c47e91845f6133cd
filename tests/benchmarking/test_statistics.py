"""Intervals and significance, against SciPy, which the device does not have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from unet_edge.benchmarking.statistics import (
    adjusted,
    bootstrap,
    independent,
    paired,
    spread,
    tail,
)

RANDOM = np.random.default_rng(0)
A = np.exp(RANDOM.normal(0.0, 0.05, 6))
B = np.exp(RANDOM.normal(0.1, 0.02, 8))


@pytest.mark.parametrize(("t", "freedom"), [(0.5, 1), (2.571, 5), (3, 10), (12, 3.3), (40, 30)])
def test_tail_is_that_of_students_distribution(t: float, freedom: float) -> None:
    # The midpoint rule over 1,000 steps: an error of 1e-6 where the density is a power of a cosine.
    assert tail(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-4)


def test_runs_are_compared_by_welchs_test() -> None:
    found = independent(A, B)
    expected = stats.ttest_ind(np.log(A), np.log(B), equal_var=False)
    low, high = np.exp(expected.confidence_interval(0.95))
    width = found.width
    assert (found.value / width, found.value * width) == pytest.approx((low, high), rel=1e-5)
    assert found.to_dict() == pytest.approx({"value": found.value, "low": low, "high": high})
    assert found.p == pytest.approx(expected.pvalue, rel=1e-4)
    assert found.value == pytest.approx(stats.gmean(A) / stats.gmean(B))


def test_rows_of_a_run_are_compared_within_rounds() -> None:
    found = paired(A, B[:6])
    expected = stats.ttest_rel(np.log(A), np.log(B[:6]))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-4)
    assert spread(A) == pytest.approx(
        math.expm1(stats.t.ppf(0.975, 5) * stats.sem(np.log(A))), rel=1e-5
    )


def test_a_single_round_has_no_interval() -> None:
    for found in (paired([2.0], [1.0]), independent([2.0], [1.0, 1.0])):
        assert found.value == 2
        assert all(map(math.isnan, (found.error, found.width, found.p)))
        assert found.text == "2.000"
    assert math.isnan(spread([1.0]))


def test_whole_rounds_are_drawn_anew() -> None:
    # Three rounds of equal times inside: a draw's median is 1, 2 or 3, each often enough.
    assert bootstrap([[1.0] * 5, [2.0] * 5, [3.0] * 5], 50) == (1, 3)
    # Where rounds do not differ, the interval is a point, however much pictures do.
    low, high = bootstrap([[1.0, 2.0, 9.0]] * 4, 50)
    assert low == high == 2
    random = np.random.default_rng(0)
    rounds = [list(random.normal(100, 5, 20)) for _ in range(30)]
    low, high = bootstrap(rounds, 50)
    # The median of 600 normal times has a standard error of 1.253 * 5 / sqrt(600), 0.256.
    assert 99 < low < 100.3 < 100.6 + 2 * 0.256
    assert 3 * 0.256 < high - low < 5 * 0.256
    assert all(math.isnan(end) for end in bootstrap(rounds[:2], 50))


def test_times_that_a_coarse_clock_cannot_tell_apart() -> None:
    assert independent([2.0, 2.0], [2.0, 2.0]).p == 1
    different = independent([2.0, 2.0], [1.0, 1.0])
    assert (different.p, different.width) == (0, 1)


def test_many_comparisons_are_adjusted() -> None:
    # Holm: 0.01 * 3, 0.03 * 2, and 0.04 * 1 raised to the one before.
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.5, 0.9]) == [1.0, 1.0]
