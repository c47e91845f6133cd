"""BenchmarkResult: the time, memory and agreement of every file of a bundle on one machine."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from unet_edge.benchmarking.conditions import BUSY, STEADY, Conditions, void_rounds
from unet_edge.benchmarking.statistics import Ratio, paired, spread

KIND = "unet-edge benchmark"
SCHEMA = 1
"""Version of benchmark.json. Readers refuse newer versions."""

TOTAL = "total"
"""The name of the sum of all stages, beside the segmenter's STAGES."""


def is_steady(before_ms: float, after_ms: float) -> bool:
    """Whether a machine took about as long for the same work after the measurement as before."""
    return 1 / STEADY < after_ms / before_ms < STEADY


@dataclass(frozen=True)
class Round:
    """One process of a model. Times in ms.

    `load_ms` covers reading, digest, and the import and set-up of the interpreter, `first_ms` the
    first picture. `stages` has the median of each of STAGES and of TOTAL over the timed pictures.
    """

    load_ms: float
    first_ms: float
    stages: dict[str, float]


@dataclass(frozen=True)
class Measurement:
    """The figures of one model. Times in ms, memory in MiB, shares 0..1.

    `load_ms` is the median of its processes; `rounds` has each of them. `stages` has p50, p90, p99
    and min of each of STAGES and of TOTAL, a complete picture, over all timed pictures.
    `peak_memory_mib` is the highest peak of a process, Python included, before verification.
    `agreement`, `worst` (of the worst picture) and `mask_miou` are against the Keras reference's
    masks. `threads` is None for Keras, which decides for itself.
    """

    backend: str
    threads: int | None
    load_ms: float
    stages: dict[str, dict[str, float]]
    peak_memory_mib: float
    agreement: float
    worst: float
    mask_miou: float
    rounds: tuple[Round, ...] = ()

    @property
    def p50_ms(self) -> float:
        """The median time for a complete picture, ms."""
        return self.stages[TOTAL]["p50"]

    @property
    def spread(self) -> float:
        """Half the width of the 95 % interval of `p50_ms` as a share of it.

        NaN for one round or two, whose interval would be too wide to say anything.
        """
        return spread(self.round_ms(TOTAL)) if len(self.rounds) > 2 else math.nan

    def round_ms(self, stage: str) -> list[float]:
        """The median time of a stage in each round, ms."""
        return [entry.stages[stage] for entry in self.rounds]


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


@dataclass(frozen=True)
class BenchmarkResult:
    """All files of a bundle and its Keras reference on one machine.

    `gemm_before_ms` and `gemm_after_ms` are the times of a matrix product, which show how busy
    the machine was. Each model had `runs` pictures in each of `rounds` processes. `conditions` were
    read before the first round and after each. `void` are the numbers of the rounds, from 0, whose
    times are left out, because the machine was slower then; if all were, none is left out. `sizes`
    are the sizes of the timed pictures in px, as "640x480"; `pictures_sha256` is over their
    contents. `environment` has the variables that change how fast libraries compute.
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
    rounds: int
    pictures: int
    pictures_sha256: str
    sizes: tuple[str, ...]
    conditions: tuple[Conditions, ...]
    void: tuple[int, ...]
    environment: dict[str, str]
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
        """Whether the machine was about as fast, and never throttled, between all rounds."""
        return not self.void and not self.disturbed

    @property
    def disturbed(self) -> bool:
        """Whether no round was left out, though the machine was throttled or changed its speed."""
        times = [entry.core_ms for entry in self.conditions]
        return not self.void and (
            bool(void_rounds(self.conditions)) or not is_steady(min(times), max(times))
        )

    @property
    def busy(self) -> float | None:
        """The most processors that other programs used in a round, None below BUSY."""
        most = max((entry.others or 0.0 for entry in self.conditions), default=0.0)
        return most if most >= BUSY else None

    def speedup(self, row: ModelResult, stage: str = TOTAL) -> Ratio | None:
        """The time of Keras divided by that of `row` in the same rounds, None unless both ran.

        `stage` is TOTAL or one of STAGES.
        """
        if row.cost is None or self.keras.cost is None:
            return None
        return paired(self.keras.cost.round_ms(stage), row.cost.round_ms(stage))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, as `benchmark.schema.json` describes them."""
        return {"kind": KIND, "schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BenchmarkResult:
        """Read the result of `to_dict`, which must hold to the schema."""
        figures = {name: data[name] for name in (field.name for field in dataclasses.fields(cls))}
        return cls(
            **figures
            | {
                "sizes": tuple(data["sizes"]),
                "conditions": tuple(_conditions(each) for each in data["conditions"]),
                "void": tuple(data["void"]),
                "keras": _row(data["keras"]),
                "files": tuple(_row(each) for each in data["files"]),
            }
        )


def _conditions(data: dict[str, Any]) -> Conditions:
    listed = {name: data[name] for name in ("mhz", "throttling") if data[name] is not None}
    return Conditions(**data | {name: tuple(values) for name, values in listed.items()})


def _row(data: dict[str, Any]) -> ModelResult:
    if data["cost"] is None:
        return ModelResult(**data)
    rounds = tuple(Round(**each) for each in data["cost"]["rounds"])
    return ModelResult(**data | {"cost": Measurement(**data["cost"] | {"rounds": rounds})})
