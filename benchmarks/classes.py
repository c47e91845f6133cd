"""Measure int8 files of models with many classes: agreement and time by the layers in float.

    python -m benchmarks.classes RUN [RUN ...]

Each RUN is a training run of three classes or more. `--mosaic DIR` first writes a generated data
set of eleven classes to DIR, to train such a run on. Converts each run's model to int8 .tflite
with more and more layers in float. Proves each file on all validation pictures at their own size,
and times the files in turns on one thread, from grid to labels. Writes
`benchmarks/reference/<machine>/classes.{md,json}`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import keras

from benchmarks.mosaic import write_dataset
from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from converters.float_layers import stem
from converters.int8.calibration import calibration_grids
from converters.int8.correction import correct_channels
from converters.int8.fitting import fit_to_int8
from converters.int8.search import miou_drop
from converters.layers import convolutions
from converters.references import held_out
from converters.tflite.conversion import to_tflite
from converters.tflite.int8 import Int8Converter
from unet_edge.evaluation.verification import verify
from unet_edge.images.placement import Pixels
from unet_edge.runtime.backends.backend import Backend
from unet_edge.runtime.backends.keras_model import load_keras
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, Segmenter, read_spec
from unet_edge.system.timing import machine
from unet_edge.training.config import read_config

_CALIBRATION = 32
_ALL = 10**6
_TURNS = 30


@dataclass(frozen=True)
class Variant:
    """A file: agreement and worst picture (0..1), points of mIoU lost, time by the first file's."""

    name: str
    bytes: int
    agreement: float
    worst: float
    miou_drop: float | None
    time: float


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--mosaic", type=click.Path(path_type=Path), help="Write the generated set here.")
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(runs: tuple[Path, ...], mosaic: Path | None, output: Path) -> None:
    """Measure each run's variants and write the report of this machine."""
    if mosaic is not None:
        write_dataset(mosaic, train=120, validation=48)
        print(f"written: {mosaic}")
    if not runs:
        return
    facts = machine()
    results = {run.name: _variants(run) for run in runs}
    target = named(output, facts, "classes")
    report = {
        "machine": facts,
        "runs": {
            name: {"keras_miou": miou, "ideas": [asdict(variant) for variant in variants]}
            for name, (miou, variants) in results.items()
        },
    }
    write_report(target, report, _markdown(results, facts))
    print(f"written: {target}.md and .json")


def _variants(run: Path) -> tuple[float, list[Variant]]:
    """Keras' mIoU (0..1), and every variant; times are relative to the first one's."""
    model, spec = load_keras(run / KERAS_MODEL), read_spec(run / SPEC_FILE)
    dataset = read_config(run).dataset()
    grids = calibration_grids(dataset, spec, count=_CALIBRATION, seed=0)
    references, confusion = held_out(model, spec, dataset, _ALL)

    def convert(source: keras.Model, float_layers: Sequence[str]) -> bytes:
        return Int8Converter(source, spec, grids).convert(float_layers)

    files = _files(model, convert, grids)
    for precision in ("float16", "float32"):
        files[precision] = to_tflite(model, spec, precision)
    backends = {name: open_backend(data, "tflite", 1) for name, data in files.items()}
    times = _times(list(backends.values()), grids[0])
    variants = []
    for (name, backend), ratio in zip(backends.items(), times, strict=True):
        proof = verify(
            Segmenter(spec, backend, name), (picture.unpacked() for picture in references), floor=0
        )
        drop = miou_drop(proof, confusion.miou)
        variant = Variant(name, len(files[name]), proof.agreement, proof.worst, drop, ratio)
        variants.append(variant)
        print(f"{run.name}: {variant}", flush=True)
    return confusion.miou, variants


def _files(
    model: keras.Model,
    convert: Callable[[keras.Model, Sequence[str]], bytes],
    grids: Sequence[Pixels],
) -> dict[str, bytes]:
    """The int8 files by the name of the variant."""
    names = [layer.name for layer in convolutions(model)]
    first, last = stem(model), names[-1]
    choices: dict[str, tuple[str, ...]] = {"stem in float": first}
    choices["and the scores"] = (*first, last)
    for pairs in (2, 3, 4, 5):
        choices[f"and {2 * pairs} first layers"] = (*names[: 2 * pairs], last)
    choices["and the last block"] = (*names[:8], *names[-3:])
    files = {
        "gains and offsets, stem in float": convert(correct_channels(model, grids, first), first)
    }
    for name, layers in choices.items():
        files[f"fitted, {name}"] = convert(fit_to_int8(model, grids, layers), layers)
    return files


def _times(backends: Sequence[Backend], grid: Pixels) -> list[float]:
    """Each backend's time for labels as a share of the first's: medians over the turns."""
    laps: list[list[float]] = [[] for _ in backends]
    for turn in range(_TURNS + 1):
        for lap, backend in zip(laps, backends, strict=True):
            start = time.perf_counter()
            backend.labels(grid)
            if turn:  # the first is a warm-up
                lap.append(time.perf_counter() - start)
    return [
        statistics.median(own / first for own, first in zip(lap, laps[0], strict=True))
        for lap in laps
    ]


def _markdown(results: dict[str, tuple[float, list[Variant]]], facts: dict[str, Any]) -> str:
    parts = [
        "# Many classes: agreement and time of int8 files",
        f"Made by `python -m benchmarks.classes`. Machine: {spelled(facts)}.",
        "Pixels with Keras' label on all validation pictures at their own size; points of mIoU "
        "lost (below 0: gained); time from grid to labels on one thread, the median of "
        f'{_TURNS} turns, as a share of the first row\'s. "Fitted": '
        "`converters/int8/fitting.py`.",
    ]
    for name, (miou, variants) in results.items():
        rows = [
            (
                variant.name,
                f"{100 * variant.agreement:.3f}",
                f"{100 * variant.worst:.3f}",
                "-" if variant.miou_drop is None else f"{variant.miou_drop:.3f}",
                f"{variant.time:.2f}",
                f"{variant.bytes / 1e6:.2f}",
            )
            for variant in variants
        ]
        headers = ["int8 .tflite, or", "agreement, %", "worst, %", "mIoU lost", "time", "MB"]
        parts += [f"## {name}", f"Keras' mIoU: {100 * miou:.1f}.", table(rows, headers)]
    return page(*parts)


if __name__ == "__main__":
    main()
