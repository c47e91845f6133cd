"""BenchmarkResult: what every file of a bundle cost on one machine, as values."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

TOTAL = "total"
"""What the sum of a run's stages is called beside the segmenter's STAGES."""

# An idle machine repeats the matrix product within a few percent; a quarter more or less says
# that it was throttled or shared while the files were measured.
_STEADY = 1.25


def is_steady(gemm_before_ms: float, gemm_after_ms: float) -> bool:
    """Whether a machine was about as fast after measuring as before."""
    return 1 / _STEADY < gemm_after_ms / gemm_before_ms < _STEADY


@dataclass(frozen=True)
class Measurement:
    """What one model cost in its own process. Times in ms, memory in MiB, shares 0..1.

    `load_ms` is from nothing to ready: reading, digest, the interpreter's import and set-up.
    `stages` gives p50, p90, p99 and min of each of STAGES and of TOTAL, the whole picture.
    `peak_memory_mib` is the whole process's, Python included, before `agreement`, `worst` (the
    worst picture's) and `mask_miou` were measured against the Keras reference's masks.
    `threads` is None for Keras, which decides for itself.
    """

    backend: str
    threads: int | None
    load_ms: float
    stages: dict[str, dict[str, float]]
    peak_memory_mib: float
    agreement: float
    worst: float
    mask_miou: float

    @property
    def p50_ms(self) -> float:
        """Median time for a whole picture, ms."""
        return self.stages[TOTAL]["p50"]


@dataclass(frozen=True)
class ModelResult:
    """One model of a benchmark; without `cost`, `error` says why, or it was not asked for.

    `held_out` (agreement with Keras, 0..1) and `label_miou` (against the true labels) are the
    bundle's, measured at export over the held-out pictures. `floor` is the least agreement on
    the golden pictures, None for the Keras reference. `bytes` is None where there is no file.
    """

    name: str
    format: str
    precision: str
    bytes: int | None
    sha256: str
    floor: float | None
    held_out: float | None
    label_miou: float | None
    cost: Measurement | None = None
    error: str | None = None

    @property
    def kept_floor(self) -> bool:
        """Whether it ran here and agreed with Keras as closely as its floor asks."""
        return self.cost is not None and self.cost.agreement >= (self.floor or 0.0)


def is_benchmark_result(data: bytes) -> bool:
    """Whether a file holds a BenchmarkResult's figures."""
    try:
        figures = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(figures, dict) and {"gemm_before_ms", "files", "keras"} <= set(figures)


@dataclass(frozen=True)
class BenchmarkResult:
    """All files of a bundle and its Keras reference on one machine.

    `gemm_before_ms` and `gemm_after_ms` time a matrix product: how busy the machine was. `sizes`
    are those of the pictures the runs cycled over, as "640x480" px.
    """

    model: str
    height: int
    width: int
    date: str
    machine: dict[str, Any]
    gemm_before_ms: float
    gemm_after_ms: float
    threads: int
    runs: int
    pictures: int
    sizes: tuple[str, ...]
    keras: ModelResult
    files: tuple[ModelResult, ...]

    @property
    def rows(self) -> tuple[ModelResult, ...]:
        """Keras first, then the bundle's files in its order."""
        return (self.keras, *self.files)

    @property
    def processor(self) -> str:
        """The processor and how it adds int8, for people."""
        return f"{self.machine['model']} ({self.machine['int8']})"

    @property
    def steady(self) -> bool:
        """Whether the machine was about as fast after the benchmark as before."""
        return is_steady(self.gemm_before_ms, self.gemm_after_ms)

    def speedup(self, row: ModelResult, stage: str = TOTAL) -> float | None:
        """How many times faster than Keras (medians), where both ran.

        For a whole picture, or for one of STAGES.
        """
        if row.cost is None or self.keras.cost is None:
            return None
        return self.keras.cost.stages[stage]["p50"] / row.cost.stages[stage]["p50"]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)
