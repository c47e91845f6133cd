"""Time, memory and agreement of each model file on this machine, each in its own process.

`measure_bundle` goes through the files several times, beginning with another one, and starts this
module once for every file and round. The child opens the model, times it, verifies it and answers
with JSON. So peak memory and load time belong to that file alone, a crash costs one row, and what
disturbs the machine for a while does not fall on one file. The Keras reference is measured in the
same way.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_edge.benchmarking.conditions import Conditions, ConditionsReader, settings, void_rounds
from unet_edge.benchmarking.results import (
    TOTAL,
    BenchmarkResult,
    Measurement,
    ModelResult,
    Round,
)
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.errors import BundleError, ConfigError, UnetEdgeError
from unet_edge.evaluation.verification import golden_references, verify
from unet_edge.images.decoding import decode
from unet_edge.model_files.embedded_contract import load_model_bytes
from unet_edge.runtime.bundle_opening import readable
from unet_edge.runtime.packages import Package
from unet_edge.runtime.segmenter import KERAS_MODEL, Segmenter
from unet_edge.runtime.threads import thread_count
from unet_edge.system.child_process import answer_pipe, run_child
from unet_edge.system.files import sha256
from unet_edge.system.timing import StageClock, machine, peak_memory, percentiles

WARM_UP = 5
"""Untimed runs before the timed ones, in which Keras traces and caches and clocks settle."""


@dataclass(frozen=True)
class Request:
    """The work of a measuring child process."""

    bundle: str
    model: str
    file: str | None
    threads: int | None
    runs: int
    pictures: Sequence[str]
    backend: Package | None = None


@dataclass(frozen=True)
class Process:
    """The answer of a child process. `laps` has the times of each stage in ms, picture by picture.

    The other figures are those of a Measurement.
    """

    backend: str
    threads: int | None
    load_ms: float
    first_ms: float
    laps: dict[str, list[float]]
    peak_memory_mib: float
    agreement: float
    worst: float
    mask_miou: float


def measure_bundle(
    bundle: Bundle,
    *,
    pictures: Sequence[Path] | None = None,
    runs: int = 10,
    rounds: int = 6,
    threads: int | None = None,
    keras: Path | None = None,
    backend: Package | None = None,
) -> BenchmarkResult:
    """Measure every file of a bundle, and `keras` (a .keras file or a run folder) if given.

    With `backend`, measures the files that this interpreter reads. In each of `rounds`, times
    `runs` pictures with each file, cycling over `pictures` (by default the golden ones), then
    verifies the golden pictures.

    A file that cannot run here becomes a row with its error. Before anything is measured, raises
    ConfigError, ImageError, ModelFileError or BundleError for what would affect every row.
    """
    count = thread_count(threads)
    if runs < 1 or rounds < 1:
        raise ConfigError(
            f"runs is {runs} and rounds is {rounds}", expected="both must be at least 1"
        )
    require_golden(bundle)
    if pictures is None:
        pictures = [bundle.path / golden.picture for golden in bundle.golden]
    used = [path.absolute() for path in pictures[:runs]]
    if not used:
        raise ConfigError("there is no picture to measure with")
    files = readable(bundle.path, bundle.files, backend)
    photos = (decode(path, bit_depth=bundle.spec.bit_depth) for path in used)
    sizes = tuple(dict.fromkeys(f"{photo.width}x{photo.height}" for photo in photos))
    digests = "".join(sha256(path.read_bytes()) for path in used)
    reference = _keras_row(bundle, keras)
    request = Request(
        bundle=str(bundle.path),
        model=str(bundle.path),
        file=None,
        threads=count,
        runs=runs,
        pictures=[str(path) for path in used],
        backend=backend,
    )
    jobs = [(_file_row(entry), dataclasses.replace(request, file=entry.name)) for entry in files]
    if keras is not None:
        # Keras has no setting for threads: its library uses every processor.
        run = dataclasses.replace(request, model=str(keras), threads=None, backend=None)
        jobs.insert(0, (reference, run))
    rows, conditions = _measured(jobs, rounds)
    return BenchmarkResult(
        model=bundle.spec.name,
        height=bundle.spec.height,
        width=bundle.spec.width,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine(),
        gemm_before_ms=conditions[0].gemm_ms,
        gemm_after_ms=conditions[-1].gemm_ms,
        threads=count,
        runs=runs,
        rounds=rounds,
        pictures=len(used),
        pictures_sha256=sha256(digests.encode()),
        sizes=sizes,
        conditions=conditions,
        void=_left_out(conditions),
        environment=settings(),
        keras=reference if keras is None else rows.pop(0),
        files=tuple(rows),
    )


def require_golden(bundle: Bundle) -> None:
    """Raise BundleError for a bundle without golden pictures."""
    if not bundle.golden:
        raise BundleError(f"{bundle.path} has no golden pictures to verify its files with")


def _file_row(entry: BundleFile) -> ModelResult:
    """The row of a file before it is measured."""
    return ModelResult(
        name=entry.name,
        format=entry.format,
        precision=entry.precision,
        bytes=entry.bytes,
        sha256=entry.sha256,
        floor=entry.golden_floor,
        held_out=entry.agreement,
        label_miou=entry.label_miou,
    )


def _measured(
    jobs: Sequence[tuple[ModelResult, Request]], rounds: int
) -> tuple[list[ModelResult], tuple[Conditions, ...]]:
    """The rows with their measurement or error, and the conditions around each round."""
    # Here, not at the top: children import this module, and tqdm takes 3 MiB of each peak.
    from unet_edge.system.progress import progress_bar

    processes: list[list[Process]] = [[] for _ in jobs]
    errors: dict[int, str] = {}
    reader = ConditionsReader()
    conditions = [reader.read()]
    bar = progress_bar(len(jobs) * rounds, "measuring")
    for number in range(rounds):
        first = number % len(jobs)
        for index in (*range(first, len(jobs)), *range(first)):
            if index not in errors:
                row, request = jobs[index]
                bar.set_postfix_str(row.name)
                answer = _process(request)
                if isinstance(answer, str):
                    errors[index] = answer
                else:
                    processes[index].append(answer)
            bar.update()
        conditions.append(reader.read())
    bar.close()
    void = _left_out(conditions)
    rows = [
        dataclasses.replace(row, error=errors[index])
        if index in errors
        else dataclasses.replace(row, cost=_cost(processes[index], void))
        for index, (row, _) in enumerate(jobs)
    ]
    return rows, tuple(conditions)


def _left_out(conditions: Sequence[Conditions]) -> tuple[int, ...]:
    """The void rounds, unless all are: then slow is usual here, and the result says so."""
    void = void_rounds(conditions)
    return () if len(void) == len(conditions) - 1 else void


def _cost(processes: Sequence[Process], void: Sequence[int] = ()) -> Measurement:
    """The figures of all processes of a model; the times without those of void rounds."""
    counted = [each for number, each in enumerate(processes) if number not in void]
    laps = {stage: [ms for each in counted for ms in each.laps[stage]] for stage in counted[0].laps}
    first = counted[0]
    return Measurement(
        backend=first.backend,
        threads=first.threads,
        load_ms=statistics.median(each.load_ms for each in counted),
        stages=summarise(laps),
        peak_memory_mib=max(each.peak_memory_mib for each in processes),
        agreement=min(each.agreement for each in processes),
        worst=min(each.worst for each in processes),
        mask_miou=min(each.mask_miou for each in processes),
        rounds=tuple(
            Round(
                load_ms=each.load_ms,
                first_ms=each.first_ms,
                stages={name: all_["p50"] for name, all_ in summarise(each.laps).items()},
            )
            for each in counted
        ),
    )


def summarise(laps: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """p50, p90, p99 and min of each stage and of TOTAL, the sum of each run's stages."""
    totals = [sum(run) for run in zip(*laps.values(), strict=True)]
    return {stage: percentiles(values) for stage, values in {**laps, TOTAL: totals}.items()}


def _keras_row(bundle: Bundle, keras: Path | None) -> ModelResult:
    """The reference's row before it is measured. Raises BundleError for another model's file."""
    reference = bundle.reference
    row = ModelResult(
        name=KERAS_MODEL,
        format="keras",
        precision="float32",
        bytes=None,
        sha256=reference.keras_sha256,
        floor=None,
        held_out=None,
        label_miou=reference.label_miou,
    )
    if keras is None:
        return row
    path = keras if keras.suffix == ".keras" else keras / KERAS_MODEL
    data = load_model_bytes(path)
    if sha256(data) != reference.keras_sha256:
        raise BundleError(
            f"{path} is not the model that {bundle.path} was exported from: its SHA-256 differs",
            fix="give that model, or export again",
        )
    return dataclasses.replace(row, bytes=len(data))


def cost_of(request: Request) -> Measurement | str:
    """The measurement of a child process, or as text why there is none."""
    answer = _process(request)
    return answer if isinstance(answer, str) else _cost([answer])


def _process(request: Request) -> Process | str:
    child = run_child(__name__, dataclasses.asdict(request))
    try:
        answer = json.loads(child.output)
    except ValueError:
        return child.failure
    return Process(**answer["process"]) if "process" in answer else str(answer["error"])


def _measure(request: Request) -> Process:
    """Open, warm up, time and verify one model in this process."""
    started = time.perf_counter_ns()
    segmenter = Segmenter.open(
        request.model, file=request.file, threads=request.threads, backend=request.backend
    )
    opened = time.perf_counter_ns()
    first, *others = itertools.islice(itertools.cycle(request.pictures), WARM_UP)
    segmenter.segment(first)
    first_ms = (time.perf_counter_ns() - opened) / 1e6
    for picture in others:
        segmenter.segment(picture)
    clock = StageClock()
    for picture in itertools.islice(itertools.cycle(request.pictures), request.runs):
        clock.start()
        segmenter.timed_segment(picture, clock)
    memory = peak_memory()  # before verifying, which needs more memory than segmenting
    proof = verify(segmenter, golden_references(Bundle.open(request.bundle)), floor=0.0)
    return Process(
        backend=segmenter.backend.name,
        threads=request.threads,
        load_ms=(opened - started) / 1e6,
        first_ms=first_ms,
        laps=clock.laps,
        peak_memory_mib=memory,
        agreement=proof.agreement,
        worst=proof.worst,
        mask_miou=proof.mask_miou,
    )


def _main() -> None:
    """The child: a request on standard input, an answer on standard output, both JSON."""
    answer = answer_pipe()
    result: dict[str, Any]
    try:
        result = {"process": dataclasses.asdict(_measure(Request(**json.load(sys.stdin))))}
    except UnetEdgeError as error:
        result = {"error": str(error)}
    os.write(answer, json.dumps(result).encode())


if __name__ == "__main__":
    _main()
