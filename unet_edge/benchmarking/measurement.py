"""Time, memory and agreement of each model file on this machine, each in its own process.

`measure_bundle` goes through the variants, a variant being a file with an interpreter and a number
of threads. It does so in several rounds, each in another order, and starts this module once for
every variant and round. The child opens the model, times it, scores its masks and answers with
JSON. So peak memory and load time belong to that variant alone, a crash costs one row, and what
disturbs the machine for a while does not fall on one of them. The Keras reference is measured in
the same way.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.benchmarking.conditions import (
    Conditions,
    ConditionsReader,
    matrix_kernel,
    settings,
    void_rounds,
)
from unet_edge.benchmarking.labelled_pictures import LabelledPicture
from unet_edge.benchmarking.mask_scores import MaskScores, score_masks
from unet_edge.benchmarking.results import (
    TOTAL,
    BenchmarkResult,
    Measurement,
    ModelResult,
    Round,
)
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.errors import BundleError, ConfigError, ModelFileError, UnetEdgeError
from unet_edge.evaluation.verification import ReferenceMask, golden_references
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_labels
from unet_edge.model_files.embedded_contract import load_model_bytes
from unet_edge.model_files.graph import TFLiteGraph
from unet_edge.model_files.read_graph import read_graph
from unet_edge.runtime.bundle_opening import readable
from unet_edge.runtime.packages import Package
from unet_edge.runtime.segmenter import KERAS_MODEL, Segmenter
from unet_edge.runtime.threads import thread_count
from unet_edge.system.board import read_board
from unet_edge.system.child_process import answer_pipe, run_child
from unet_edge.system.counting import counted
from unet_edge.system.files import sha256
from unet_edge.system.timing import StageClock, machine, peak_memory, percentiles

WARM_UP = 5
"""Untimed runs before the timed ones, in which Keras traces and caches and clocks settle."""


@dataclass(frozen=True)
class Request:
    """The work of a measuring child process.

    `labelled` are pictures to score against true labels, each with its name, its file and that of
    its labels, a greyscale PNG.
    """

    bundle: str
    model: str
    file: str | None
    threads: int | None
    runs: int
    pictures: Sequence[str]
    backend: Package | None = None
    labelled: Sequence[tuple[str, str, str]] = ()


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
    golden: MaskScores
    labels: MaskScores | None


def measure_bundle(
    bundle: Bundle,
    *,
    pictures: Sequence[Path] | None = None,
    labelled: Sequence[LabelledPicture] = (),
    runs: int = 10,
    rounds: int = 6,
    threads: int | Sequence[int] | None = None,
    keras: Path | None = None,
    backends: Sequence[Package] = (),
) -> BenchmarkResult:
    """Measure every file of a bundle, and `keras` (a .keras file or a run folder) if given.

    With several `threads`, each file is measured on each number. With `backends`, each of these
    interpreters measures the files that it reads, else the first that works. In each of `rounds`,
    times `runs` pictures with each file, cycling over `pictures` (by default the golden ones), then
    scores the masks of the golden pictures. The first round also scores `labelled`.

    A file that cannot run here becomes a row with its error. Before anything is measured, raises
    ConfigError, ImageError, ModelFileError, BackendError or BundleError for what would affect every
    row.
    """
    counts = _thread_counts(threads)
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
    photos = (decode(path, bit_depth=bundle.spec.bit_depth) for path in used)
    sizes = tuple(dict.fromkeys(f"{photo.width}x{photo.height}" for photo in photos))
    digests = "".join(sha256(path.read_bytes()) for path in used)
    reference = _keras_row(bundle, keras)
    request = Request(
        bundle=str(bundle.path),
        model=str(bundle.path),
        file=None,
        threads=None,
        runs=runs,
        pictures=[str(path) for path in used],
        labelled=[(each.name, str(each.picture), str(each.labels)) for each in labelled],
    )
    jobs = list(_variants(bundle, request, counts, dict.fromkeys(backends) or (None,)))
    if keras is not None:
        # Keras has no setting for threads: its library uses every processor.
        jobs.insert(0, (reference, dataclasses.replace(request, model=str(keras))))
    rows, conditions = _measured(jobs, rounds)
    return BenchmarkResult(
        model=bundle.spec.name,
        height=bundle.spec.height,
        width=bundle.spec.width,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        macs=_macs(bundle),
        machine=machine(),
        instructions=read_board().features,
        matrix_kernel=matrix_kernel(),
        gemm_before_ms=conditions[0].gemm_ms,
        gemm_after_ms=conditions[-1].gemm_ms,
        threads=counts,
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


def _macs(bundle: Bundle) -> int | None:
    """The multiply-accumulate operations of a .tflite file for a picture, None without one."""
    for entry in bundle.files:
        try:
            graph = read_graph(bundle.read(entry), entry.format, entry.name)
        except (BundleError, ModelFileError):  # of a damaged file, whose row says so
            continue
        if isinstance(graph, TFLiteGraph):
            return graph.macs
    return None


def _thread_counts(threads: int | Sequence[int] | None) -> tuple[int, ...]:
    """Each number of threads once, in the order given. Raises ConfigError out of range."""
    if threads is None or isinstance(threads, int):
        return (thread_count(threads),)
    if not threads:
        raise ConfigError("threads has no number")
    return tuple(dict.fromkeys(thread_count(number) for number in threads))


def _variants(
    bundle: Bundle,
    request: Request,
    threads: Sequence[int],
    backends: Iterable[Package | None],
) -> Iterator[tuple[ModelResult, Request]]:
    """Each file's row and request with each interpreter that reads it and number of threads."""
    backends = tuple(backends)
    chosen = {each: readable(bundle.path, bundle.files, each) for each in backends}
    for entry in bundle.files:
        for backend in backends:
            for count in threads if entry in chosen[backend] else ():
                parts: list[str] = [backend] if backend and len(backends) > 1 else []
                parts += [counted(count, "thread")] if len(threads) > 1 else []
                variant = dataclasses.replace(
                    request, file=entry.name, threads=count, backend=backend
                )
                yield _file_row(entry, ", ".join(parts)), variant


def _file_row(entry: BundleFile, variant: str) -> ModelResult:
    """The row of a variant of a file before it is measured."""
    return ModelResult(
        name=entry.name,
        variant=variant,
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
    shuffle = random.Random(0).sample  # the same orders in every run
    for number in range(rounds):
        for index in shuffle(range(len(jobs)), len(jobs)):
            if index not in errors:
                row, request = jobs[index]
                bar.set_postfix_str(row.label)
                if number:
                    request = dataclasses.replace(request, labelled=())
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
    usable = [each for number, each in enumerate(processes) if number not in void]
    laps = {stage: [ms for each in usable for ms in each.laps[stage]] for stage in usable[0].laps}
    first = usable[0]
    return Measurement(
        backend=first.backend,
        threads=first.threads,
        load_ms=statistics.median(each.load_ms for each in usable),
        stages=summarise(laps),
        peak_memory_mib=max(each.peak_memory_mib for each in processes),
        golden=min((each.golden for each in processes), key=lambda scores: scores.agreement),
        labels=processes[0].labels,
        rounds=tuple(
            Round(
                load_ms=each.load_ms,
                first_ms=each.first_ms,
                stages={name: all_["p50"] for name, all_ in summarise(each.laps).items()},
                total_ms=tuple(_totals(each.laps)),
            )
            for each in usable
        ),
    )


def summarise(laps: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """p50, p90, p99 and min of each stage and of TOTAL, the sum of each run's stages."""
    everything = {**laps, TOTAL: _totals(laps)}
    return {stage: percentiles(values) for stage, values in everything.items()}


def _totals(laps: dict[str, list[float]]) -> list[float]:
    """The time of each complete picture, ms."""
    return [sum(run) for run in zip(*laps.values(), strict=True)]


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
    if "error" in answer:
        return str(answer["error"])
    figures, labels = answer["process"], answer["process"]["labels"]
    return Process(
        **figures
        | {
            "golden": MaskScores.from_dict(figures["golden"]),
            "labels": None if labels is None else MaskScores.from_dict(labels),
        }
    )


def _measure(request: Request) -> Process:
    """Open, warm up, time and score one model in this process."""
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
    memory = peak_memory()  # before scoring, which needs more memory than segmenting
    golden = score_masks(segmenter, golden_references(Bundle.open(request.bundle)))
    assert golden is not None, "a mask of Keras has pixels, and require_golden was called"
    return Process(
        backend=segmenter.backend.name,
        threads=request.threads,
        load_ms=(opened - started) / 1e6,
        first_ms=first_ms,
        laps=clock.laps,
        peak_memory_mib=memory,
        golden=golden,
        labels=score_masks(segmenter, _references(request.labelled)),
    )


def _references(labelled: Sequence[tuple[str, str, str]]) -> Iterator[ReferenceMask]:
    for name, picture, labels in labelled:
        yield ReferenceMask(name, picture, np.asarray(read_labels(Path(labels))))


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
