"""Time, memory and agreement of each model file on this machine, each in its own process.

`measure_bundle` starts this module once for every file. The child opens the model, times it,
verifies it and answers with JSON. So peak memory and load time belong to that file alone, and a
crash costs one row. The Keras reference is measured in the same way.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_edge.benchmarking.results import TOTAL, BenchmarkResult, Measurement, ModelResult
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
from unet_edge.system.timing import StageClock, gemm_ms, machine, peak_memory, percentiles

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


def measure_bundle(
    bundle: Bundle,
    *,
    pictures: Sequence[Path] | None = None,
    runs: int = 50,
    threads: int | None = None,
    keras: Path | None = None,
    backend: Package | None = None,
) -> BenchmarkResult:
    """Measure every file of a bundle, and `keras` (a .keras file or a run folder) if given.

    With `backend`, measures the files that this interpreter reads. Times `runs` pictures with each
    file, cycling over `pictures` (by default the golden ones), then verifies the golden pictures.

    A file that cannot run here becomes a row with its error. Before anything is measured, raises
    ConfigError, ImageError, ModelFileError or BundleError for what would affect every row.
    """
    count = thread_count(threads)
    if runs < 1:
        raise ConfigError(f"runs is {runs}", expected="it must be at least 1")
    require_golden(bundle)
    if pictures is None:
        pictures = [bundle.path / golden.picture for golden in bundle.golden]
    used = [path.absolute() for path in pictures[:runs]]
    if not used:
        raise ConfigError("there is no picture to measure with")
    files = readable(bundle.path, bundle.files, backend)
    photos = (decode(path, bit_depth=bundle.spec.bit_depth) for path in used)
    sizes = tuple(dict.fromkeys(f"{photo.width}x{photo.height}" for photo in photos))
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
    gemm_before_ms = gemm_ms()
    rows = _measured_rows(jobs)
    return BenchmarkResult(
        model=bundle.spec.name,
        height=bundle.spec.height,
        width=bundle.spec.width,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine(),
        gemm_before_ms=gemm_before_ms,
        gemm_after_ms=gemm_ms(),
        threads=count,
        runs=runs,
        pictures=len(used),
        sizes=sizes,
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


def _measured_rows(jobs: Sequence[tuple[ModelResult, Request]]) -> list[ModelResult]:
    """The rows with their measurement or error."""
    # Here, not at the top: children import this module, and tqdm takes 3 MiB of each peak.
    from unet_edge.system.progress import progress_bar

    rows: list[ModelResult] = []
    bar = progress_bar(len(jobs), "measuring")
    for row, request in jobs:
        bar.set_postfix_str(row.name)
        cost = cost_of(request)
        if isinstance(cost, str):
            rows.append(dataclasses.replace(row, error=cost))
        else:
            rows.append(dataclasses.replace(row, cost=cost))
        bar.update()
    bar.close()
    return rows


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
    child = run_child(__name__, dataclasses.asdict(request))
    try:
        answer = json.loads(child.output)
    except ValueError:
        return child.failure
    return Measurement(**answer["cost"]) if "cost" in answer else str(answer["error"])


def _measure(request: Request) -> Measurement:
    """Open, warm up, time and verify one model in this process."""
    started = time.perf_counter_ns()
    segmenter = Segmenter.open(
        request.model, file=request.file, threads=request.threads, backend=request.backend
    )
    load_ms = (time.perf_counter_ns() - started) / 1e6
    pictures = itertools.cycle(request.pictures)
    for picture in itertools.islice(pictures, WARM_UP):
        segmenter.segment(picture)
    clock = StageClock()
    for picture in itertools.islice(itertools.cycle(request.pictures), request.runs):
        clock.start()
        segmenter.timed_segment(picture, clock)
    memory = peak_memory()  # before verifying, which needs more memory than segmenting
    proof = verify(segmenter, golden_references(Bundle.open(request.bundle)), floor=0.0)
    return Measurement(
        backend=segmenter.backend.name,
        threads=request.threads,
        load_ms=load_ms,
        stages=summarise(clock.laps),
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
        result = {"cost": dataclasses.asdict(_measure(Request(**json.load(sys.stdin))))}
    except UnetEdgeError as error:
        result = {"error": str(error)}
    os.write(answer, json.dumps(result).encode())


if __name__ == "__main__":
    _main()
