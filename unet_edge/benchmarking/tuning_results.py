"""The results of tuning: figures of each candidate, and the choice."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unet_edge.benchmarking.results import Measurement, is_steady
from unet_edge.bundle.bundle import Bundle
from unet_edge.runtime.interpreters import installed_versions
from unet_edge.runtime.packages import Package
from unet_edge.runtime.tuning_cache import Tuned, bundle_key

EQUAL = 1.03
"""Candidates up to this many times as slow as the fastest count as equal: of these, the preferred
file on the fewest threads is chosen. See docs/decisions/024-tuning.md."""


@dataclass(frozen=True)
class Candidate:
    """One way to run a bundle: a file, an interpreter and a number of threads."""

    file: str
    backend: Package
    threads: int


@dataclass(frozen=True)
class Trial:
    """The measurements of a candidate, one for each pass.

    `floor` is the least agreement on the golden pictures, 0..1. `out` says why the candidate
    cannot be chosen, None if it can.
    """

    candidate: Candidate
    floor: float
    costs: tuple[Measurement, ...] = ()
    out: str | None = None

    @property
    def model_ms(self) -> list[float]:
        """The median time of inference and labels in each pass. Other stages are equal for all."""
        return [cost.stages["infer"]["p50"] + cost.stages["mask"]["p50"] for cost in self.costs]

    @property
    def total_ms(self) -> float:
        """The median over the passes of the median time from file to mask."""
        return statistics.median(cost.p50_ms for cost in self.costs)

    @property
    def agreement(self) -> float:
        """The least agreement with Keras' masks of the golden pictures in any pass, 0..1."""
        return min(cost.agreement for cost in self.costs)


@dataclass(frozen=True)
class Tuning:
    """All trials, best first, and the chosen one.

    `missing` names interpreters that were not tried, and `excluded` files that were not, with the
    reason. `gemm_before_ms` and `gemm_after_ms` are the times of a matrix product.
    """

    chosen: Trial
    trials: tuple[Trial, ...]
    missing: dict[str, str]
    machine: dict[str, Any]
    runs: int
    rounds: int
    pictures: int
    gemm_before_ms: float
    gemm_after_ms: float
    excluded: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def steady(self) -> bool:
        """Whether the machine was about as fast after the measurement as before."""
        return is_steady(self.gemm_before_ms, self.gemm_after_ms)

    def choice(self, bundle: Bundle) -> Tuned:
        """The choice to store for `bundle`, with the current time."""
        candidate = self.chosen.candidate
        return Tuned(
            file=candidate.file,
            backend=candidate.backend,
            threads=candidate.threads,
            interpreter=self.chosen.costs[0].backend,
            bundle=bundle_key(bundle),
            machine=self.machine,
            installed=installed_versions(),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def times_chosen(self, trial: Trial) -> float | None:
        """The time relative to the chosen trial's, compared within passes; None if it is out."""
        if trial.out:
            return None
        return ratio(trial.model_ms, self.chosen.model_ms)

    def summary(self) -> list[dict[str, Any]]:
        """A few figures of each trial, to store with the choice."""
        return [
            {
                **dataclasses.asdict(trial.candidate),
                "out": trial.out,
                "picture_ms": round(trial.total_ms, 3) if trial.costs else None,
                "agreement": trial.agreement if trial.costs else None,
            }
            for trial in self.trials
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "chosen": dataclasses.asdict(self.chosen.candidate),
        }


def ranked_by_speed(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that are not out, fastest first, compared with each other within passes."""
    running = [trial for trial in trials if trial.out is None]
    if not running:
        return []
    passes = zip(*(trial.model_ms for trial in running), strict=True)
    means = [statistics.geometric_mean(times) for times in passes]
    return sorted(running, key=lambda trial: ratio(trial.model_ms, means))


def choose(ranked: Sequence[Trial], preference: Sequence[str]) -> Trial:
    """The fastest trial; among equal ones the preferred file, on the fewest threads."""
    equals = [t for t in ranked if ratio(t.model_ms, ranked[0].model_ms) <= EQUAL]
    return min(equals, key=lambda t: (preference.index(t.candidate.file), t.candidate.threads))


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """The median over the passes of the ratio of two times."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))
