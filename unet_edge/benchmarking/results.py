"""BenchmarkResult: the time, memory and agreement of every file of a bundle on one machine."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

TOTAL = "total"
"""The name of the sum of all stages, beside the segmenter's STAGES."""

# An idle machine repeats the matrix product within a few percent. A quarter more or less means
# that the machine was throttled or shared during the measurement.
_STEADY = 1.25


def is_steady(gemm_before_ms: float, gemm_after_ms: float) -> bool:
    """Whether a machine was about as fast after the measurement as before."""
    return 1 / _STEADY < gemm_after_ms / gemm_before_ms < _STEADY


@dataclass(frozen=True)
class Measurement:
    """The figures of one model in its own process. Times in ms, memory in MiB, shares 0..1.

    `load_ms` covers reading, digest, and the import and set-up of the interpreter. `stages` has
    p50, p90, p99 and min of each of STAGES and of TOTAL, a complete picture. `peak_memory_mib` is
    the peak of the process, Python included, before verification. `agreement`, `worst` (of the
    worst picture) and `mask_miou` are against the Keras reference's masks. `threads` is None for
    Keras, which decides for itself.
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
        """The median time for a complete picture, ms."""
        return self.stages[TOTAL]["p50"]


@dataclass(frozen=True)
class ModelResult:
    """One model of a benchmark. `cost` is None where it did not run: `error` says why.

    Without both, the model was not measured. `held_out` (agreement with Keras, 0..1) and
    `label_miou` (against the true labels) were measured at export over the held-out pictures.
    `floor` is the least agreement on the golden pictures, None for the Keras reference. `bytes` is
    None where there is no file.
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
        """Whether it ran here and its agreement reached the floor."""
        return self.cost is not None and self.cost.agreement >= (self.floor or 0.0)


def is_benchmark_result(data: bytes) -> bool:
    """Whether a file is the JSON of a BenchmarkResult."""
    try:
        figures = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(figures, dict) and {"gemm_before_ms", "files", "keras"} <= set(figures)


@dataclass(frozen=True)
class BenchmarkResult:
    """All files of a bundle and its Keras reference on one machine.

    `gemm_before_ms` and `gemm_after_ms` are the times of a matrix product, which show how busy
    the machine was. `sizes` are the sizes of the timed pictures in px, as "640x480".
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
        """The processor and its kind of int8 instructions, for people."""
        return f"{self.machine['model']} ({self.machine['int8']})"

    @property
    def steady(self) -> bool:
        """Whether the machine was about as fast after the benchmark as before."""
        return is_steady(self.gemm_before_ms, self.gemm_after_ms)

    def speedup(self, row: ModelResult, stage: str = TOTAL) -> float | None:
        """The median time of Keras divided by that of `row`, None unless both ran.

        `stage` is TOTAL or one of STAGES.
        """
        if row.cost is None or self.keras.cost is None:
            return None
        return self.keras.cost.stages[stage]["p50"] / row.cost.stages[stage]["p50"]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)
