"""BenchmarkResult: the time, memory and agreement of every file of a bundle on one machine."""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass
from typing import Any

from unet_edge.benchmarking.conditions import (
    BUSY,
    STEADY,
    Conditions,
    core_gflops,
    void_rounds,
)
from unet_edge.benchmarking.mask_scores import MaskScores
from unet_edge.benchmarking.statistics import Ratio, bootstrap, paired, spread
from unet_edge.benchmarking.sustained import Sustained

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
    first picture. `stages` has the median of each of STAGES and of TOTAL over the timed pictures,
    `total_ms` the time of each complete picture in order.
    """

    load_ms: float
    first_ms: float
    stages: dict[str, float]
    total_ms: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """The figures of one model. Times in ms, memory in MiB, shares 0..1.

    `load_ms` is the median of its processes; `rounds` has each of them. `stages` has p50, p90, p99
    and min of each of STAGES and of TOTAL, a complete picture, over all timed pictures.
    `peak_memory_mib` is the highest peak of a process, Python included, before its masks were
    scored. `golden` is against Keras' masks of the golden pictures, in the process that agreed
    least. `labels` is against true labels, None where none were given. `threads` is None for Keras,
    which decides for itself.
    """

    backend: str
    threads: int | None
    load_ms: float
    stages: dict[str, dict[str, float]]
    peak_memory_mib: float
    golden: MaskScores
    labels: MaskScores | None = None
    rounds: tuple[Round, ...] = ()

    @property
    def agreement(self) -> float:
        """The agreement with Keras' masks of the golden pictures, 0..1."""
        return self.golden.agreement

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

    @property
    def first_ms(self) -> float:
        """The median of the processes' first pictures, ms."""
        return statistics.median(entry.first_ms for entry in self.rounds)

    @property
    def rate(self) -> float:
        """Complete pictures a second, one after another."""
        times = [ms for entry in self.rounds for ms in entry.total_ms]
        return 1000 * len(times) / sum(times)

    def interval(self, percentile: float) -> tuple[float, float]:
        """The 95 % interval of a percentile of the time for a complete picture, ms."""
        return bootstrap([entry.total_ms for entry in self.rounds], percentile)

    def round_ms(self, stage: str) -> list[float]:
        """The median time of a stage in each round, ms."""
        return [entry.stages[stage] for entry in self.rounds]


@dataclass(frozen=True)
class ModelResult:
    """One model of a benchmark. `cost` is None where it did not run: `error` says why.

    `variant` tells rows of one file apart, such as "openvino, 2 threads"; else it is empty.
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
    variant: str = ""

    @property
    def label(self) -> str:
        """The file's name, with its variant if it has several."""
        return f"{self.name} ({self.variant})" if self.variant else self.name

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
    times are left out, because the machine was slower then; if all were, none is left out.

    `sizes` are the sizes of the timed pictures in px, as "640x480"; `pictures_sha256` is over their
    contents. `macs` are the multiply-accumulate operations of the model for one picture, None for a
    bundle without .tflite files. `instructions` are those of the processor by which interpreters
    choose their kernels, `matrix_kernel` is that of the matrix products. `threads` are the numbers
    that the files were measured on. `environment` has the variables that change how fast libraries
    compute. `sustained` is the best file measured for minutes on end, if that was asked for.
    """

    model: str
    height: int
    width: int
    date: str
    macs: int | None
    machine: dict[str, Any]
    instructions: tuple[str, ...]
    matrix_kernel: str | None
    gemm_before_ms: float
    gemm_after_ms: float
    threads: tuple[int, ...]
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
    sustained: Sustained | None = None

    @property
    def best(self) -> ModelResult | None:
        """The fastest variant that reaches its floor, None without one."""
        kept = [(row.cost.p50_ms, row) for row in self.files if row.cost and row.kept_floor]
        return min(kept, key=lambda pair: pair[0])[1] if kept else None

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

    def share_of_limit(self, row: ModelResult) -> float | None:
        """The model's arithmetic during inference, as a share of NumPy's on as many threads.

        NumPy's is that of float32 matrix products on one thread, times the threads. None where
        either is unknown. Integers may be faster than that, so the share may be above 1.
        """
        if self.macs is None or row.cost is None or row.cost.threads is None:
            return None
        core = statistics.median(entry.core_ms for entry in self.conditions)
        gflops = 2 * self.macs / row.cost.stages["infer"]["p50"] / 1e6
        return gflops / (row.cost.threads * core_gflops(core))

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
                "instructions": tuple(data["instructions"]),
                "threads": tuple(data["threads"]),
                "sizes": tuple(data["sizes"]),
                "conditions": tuple(_conditions(each) for each in data["conditions"]),
                "void": tuple(data["void"]),
                "keras": _row(data["keras"]),
                "files": tuple(_row(each) for each in data["files"]),
                "sustained": None
                if data["sustained"] is None
                else Sustained.from_dict(data["sustained"]),
            }
        )


def _conditions(data: dict[str, Any]) -> Conditions:
    listed = {name: data[name] for name in ("mhz", "throttling") if data[name] is not None}
    return Conditions(**data | {name: tuple(values) for name, values in listed.items()})


def _row(data: dict[str, Any]) -> ModelResult:
    if data["cost"] is None:
        return ModelResult(**data)
    cost = data["cost"]
    read = {
        "golden": MaskScores.from_dict(cost["golden"]),
        "labels": None if cost["labels"] is None else MaskScores.from_dict(cost["labels"]),
        "rounds": tuple(
            Round(**each | {"total_ms": tuple(each["total_ms"])}) for each in cost["rounds"]
        ),
    }
    return ModelResult(**data | {"cost": Measurement(**cost | read)})
