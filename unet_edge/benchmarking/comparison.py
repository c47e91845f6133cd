"""Two benchmarks of the same files: what became faster or slower, and how sure that is.

Each round of a run is one sample. A difference counts if it is larger than SMALLEST, and if
Welch's t-test, adjusted for the number of comparisons by Holm's method, gives it less than a 5 %
chance. See docs/decisions/049-benchmark-rounds.md.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unet_edge.benchmarking.conditions import STEADY
from unet_edge.benchmarking.results import TOTAL, BenchmarkResult, Measurement
from unet_edge.benchmarking.statistics import Ratio, adjusted, independent
from unet_edge.errors import ConfigError
from unet_edge.runtime.segmenter import KERAS_MODEL
from unet_edge.system.counting import counted

SMALLEST = 1.03
"""Smaller differences do not count: a machine differs by as much from one run to the next."""

FEWEST = 3
"""Rounds that a run needs. With two, even a difference of a tenth is hardly ever found."""

_CHANCE = 0.05


@dataclass(frozen=True)
class Difference:
    """The time of a stage of a file in two runs, ms; `ratio` is after divided by before.

    `stage` is TOTAL or one of STAGES. `p` is adjusted for all comparisons of the two runs.
    """

    file: str
    stage: str
    before_ms: float
    after_ms: float
    ratio: Ratio
    p: float

    @property
    def significant(self) -> bool:
        """Whether the difference is larger than SMALLEST, and hardly by chance."""
        return self.p < _CHANCE and not 1 / SMALLEST < self.ratio.value < SMALLEST

    @property
    def unsure(self) -> bool:
        """Whether the difference is larger than SMALLEST, and may be by chance."""
        return not self.significant and not 1 / SMALLEST < self.ratio.value < SMALLEST

    @property
    def slower(self) -> bool:
        """Whether the second run takes significantly longer."""
        return self.significant and self.ratio.value > 1


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    `only_before` and `only_after` are the files that ran in one of them alone, with the error of
    the other run, which is empty for a file that it did not have. `agreements` has, for each file,
    the agreement with Keras before and after, 0..1. `core` is the time of a processor's matrix
    products, after divided by before. `changed` names settings and versions that differ, which may
    be why times do.
    """

    differences: tuple[Difference, ...]
    only_before: dict[str, str]
    only_after: dict[str, str]
    agreements: dict[str, tuple[float, float]]
    core: float
    changed: dict[str, tuple[str, str]]

    def of(self, file: str) -> dict[str, Difference]:
        """The differences of a file by stage."""
        return {each.stage: each for each in self.differences if each.file == file}

    @property
    def files(self) -> tuple[str, ...]:
        """The files that ran in both."""
        return tuple(self.agreements)

    def slowdowns(self, most: float) -> tuple[Difference, ...]:
        """Files whose whole time grew significantly, and by more than the share `most`.

        Keras does not count: it is no file of the bundle.
        """
        return tuple(
            each
            for each in self.differences
            if each.stage == TOTAL and each.slower and each.ratio.value > 1 + most
            if each.file != KERAS_MODEL
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        found = dataclasses.asdict(self)
        for data, each in zip(found["differences"], self.differences, strict=True):
            data |= {"ratio": each.ratio.to_dict(), "significant": each.significant}
        return found


def compare(before: BenchmarkResult, after: BenchmarkResult) -> Comparison:
    """Compare two runs of one machine. Raises ConfigError for runs that cannot be compared."""
    if reasons := _incomparable(before, after):
        raise ConfigError(
            f"the two runs cannot be compared: {'; '.join(reasons)}",
            fix="measure both on one machine, with the same pictures and threads, and six rounds",
        )
    first, second = _costs(before), _costs(after)
    common = [name for name in first if name in second]
    if not common:
        raise ConfigError("no file ran in both runs", fix="compare two runs of the same files")
    found = [
        _difference(name, stage, first[name], second[name])
        for name in common
        for stage in (TOTAL, *(s for s in first[name].stages if s != TOTAL))
    ]
    levels = adjusted([each.p for each in found])
    found = [dataclasses.replace(each, p=level) for each, level in zip(found, levels, strict=True)]
    return Comparison(
        differences=tuple(found),
        only_before={name: _error(after, name) for name in first if name not in second},
        only_after={name: _error(before, name) for name in second if name not in first},
        agreements={name: (first[name].agreement, second[name].agreement) for name in common},
        core=_usual_core(after) / _usual_core(before),
        changed=_changed(before, after, first, second),
    )


def _costs(result: BenchmarkResult) -> dict[str, Measurement]:
    return {row.label: row.cost for row in result.rows if row.cost}


def _error(result: BenchmarkResult, name: str) -> str:
    """Why a file did not run, empty if the run did not have it."""
    return next((row.error or "" for row in result.rows if row.label == name), "")


def _difference(file: str, stage: str, before: Measurement, after: Measurement) -> Difference:
    ratio = independent(after.round_ms(stage), before.round_ms(stage))
    return Difference(
        file=file,
        stage=stage,
        before_ms=statistics.median(before.round_ms(stage)),
        after_ms=statistics.median(after.round_ms(stage)),
        ratio=ratio,
        p=ratio.p,
    )


def _usual_core(result: BenchmarkResult) -> float:
    return statistics.median(entry.core_ms for entry in result.conditions)


def _incomparable(before: BenchmarkResult, after: BenchmarkResult) -> list[str]:
    """Why the times of two runs say nothing about what changed between them."""
    pairs = {
        "machine": (before.processor, after.processor),
        "number of processors": (before.machine["cores"], after.machine["cores"]),
        "threads": (_numbers(before.threads), _numbers(after.threads)),
        "kernel of NumPy's matrix products": (before.matrix_kernel, after.matrix_kernel),
        "model's size": (
            f"{before.width}x{before.height}",
            f"{after.width}x{after.height}",
        ),
        "pictures": (before.pictures_sha256[:12], after.pictures_sha256[:12]),
    }
    reasons = [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]
    for number, result in (("first", before), ("second", after)):
        rounds = result.rounds - len(result.void)
        if rounds < FEWEST:
            reasons.append(
                f"the {number} run has {counted(rounds, 'round')} that count, and {FEWEST} are "
                "needed"
            )
    speed = _usual_core(after) / _usual_core(before)
    if not 1 / STEADY < speed < STEADY:
        reasons.append(
            f"a processor's matrix products took {speed:.2f} times as long in the second"
        )
    return reasons


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _changed(
    before: BenchmarkResult,
    after: BenchmarkResult,
    first: dict[str, Measurement],
    second: dict[str, Measurement],
) -> dict[str, tuple[str, str]]:
    pairs: dict[str, tuple[Any, Any]] = {
        "model": (before.model, after.model),
        "pictures in a round": (before.runs, after.runs),
        "rounds": (before.rounds, after.rounds),
    }
    for old, new in ((before.machine, after.machine), (before.environment, after.environment)):
        for name in old.keys() | new.keys():
            pairs[name] = (old.get(name, "-"), new.get(name, "-"))
    digests = {row.name: row.sha256 for row in after.rows}
    for row in before.rows:
        if row.name in digests:
            pairs[f"SHA-256 of {row.name}"] = (row.sha256[:12], digests[row.name][:12])
    for name in first.keys() & second.keys():
        pairs[f"interpreter of {name}"] = (first[name].backend, second[name].backend)
    return {name: (str(a), str(b)) for name, (a, b) in sorted(pairs.items()) if a != b}
