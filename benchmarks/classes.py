"""What many classes cost each file, and what each idea against it gains and takes.

    python -m benchmarks.classes RUN [RUN ...]

Each RUN is a training run of three classes or more. `--mosaic DIR` first writes the generated data
set of eleven classes there, to train one on. Converts each run's model to int8 .tflite in steps,
from int8 scores to more and more layers in float, proves each file on all validation pictures
at their own size and times them in turn, on one thread, up to the labels. Writes
`benchmarks/reference/<machine>-classes.{md,json}`.
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

_CONVOLUTIONS = keras.layers.Conv2D | keras.layers.DepthwiseConv2D


@dataclass(frozen=True)
class Idea:
    """A file: agreement and worst picture (0..1), points of mIoU lost, time against the first."""

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
    """Measure each run's ideas and write the reference table of this machine."""
    if mosaic is not None:
        write_dataset(mosaic, train=120, validation=48)
        print(f"written: {mosaic}")
    if not runs:
        return
    facts = machine()
    found = {run.name: _ideas(run) for run in runs}
    target = named(output, facts, "classes")
    report = {
        "machine": facts,
        "runs": {
            name: {"keras_miou": miou, "ideas": [asdict(idea) for idea in ideas]}
            for name, (miou, ideas) in found.items()
        },
    }
    write_report(target, report, _markdown(found, facts))
    print(f"written: {target}.md and .json")


def _ideas(run: Path) -> tuple[float, list[Idea]]:
    """Keras' mIoU (0..1) and every idea's file, the one without any first."""
    model, spec = load_keras(run / KERAS_MODEL), read_spec(run / SPEC_FILE)
    dataset = read_config(run).dataset()
    grids = calibration_grids(dataset, spec, count=_CALIBRATION, seed=0)
    references, reference = held_out(model, spec, dataset, _ALL)
    files = _files(model, lambda source, layers: Int8Converter(source, spec, grids).convert(layers),
                   grids)  # fmt: skip
    for precision in ("float16", "float32"):
        files[precision] = to_tflite(model, spec, precision)
    backends = {name: open_backend(data, "tflite", 1) for name, data in files.items()}
    times = _times(list(backends.values()), grids[0])
    ideas = []
    for (name, backend), ratio in zip(backends.items(), times, strict=True):
        proof = verify(
            Segmenter(spec, backend, name), (kept.unpacked() for kept in references), floor=0
        )
        drop = miou_drop(proof, reference.miou)
        ideas.append(Idea(name, len(files[name]), proof.agreement, proof.worst, drop, ratio))
        print(f"{run.name}: {ideas[-1]}", flush=True)
    return reference.miou, ideas


def _files(
    model: keras.Model,
    convert: Callable[[keras.Model, Sequence[str]], bytes],
    grids: Sequence[Pixels],
) -> dict[str, bytes]:
    """The int8 files by the idea's name."""
    convolutions = [layer.name for layer in model.layers if isinstance(layer, _CONVOLUTIONS)]
    first, last = stem(model), convolutions[-1]
    choices: dict[str, tuple[str, ...]] = {"stem in float": first}
    choices["and the scores"] = (*first, last)
    for pairs in (2, 3, 4, 5):
        name = f"and {2 * pairs} first layers"
        choices[name] = (*convolutions[: 2 * pairs], last)
    choices["and the last block"] = (*convolutions[:8], *convolutions[-3:])
    files = {
        "gains and offsets, stem in float": convert(correct_channels(model, grids, first), first)
    }
    for name, layers in choices.items():
        files[f"fitted, {name}"] = convert(fit_to_int8(model, grids, layers), layers)
    return files


def _times(backends: Sequence[Backend], grid: Pixels) -> list[float]:
    """The median of each backend's time for labels against the first's, in turns."""
    laps: list[list[float]] = [[] for _ in backends]
    for turn in range(_TURNS + 1):
        for lap, backend in zip(laps, backends, strict=True):
            start = time.perf_counter()
            backend.labels(grid)
            if turn:  # the first is a warm-up
                lap.append(time.perf_counter() - start)
    return [
        statistics.median(mine / first for mine, first in zip(lap, laps[0], strict=True))
        for lap in laps
    ]


def _markdown(found: dict[str, tuple[float, list[Idea]]], facts: dict[str, Any]) -> str:
    parts = [
        "# Many classes: what each idea gains and takes",
        f"Made by `python -m benchmarks.classes`. Machine: {spelled(facts)}.",
        "Pixels with Keras' label on all validation pictures at their own size; points of mIoU "
        "lost (below 0: gained); time up to the labels on one thread, the median of "
        f'{_TURNS} turns against the first row. "Fitted": `converters/int8/fitting.py`.',
    ]
    for name, (miou, ideas) in found.items():
        rows = [
            (
                idea.name,
                f"{100 * idea.agreement:.3f}",
                f"{100 * idea.worst:.3f}",
                "-" if idea.miou_drop is None else f"{idea.miou_drop:.3f}",
                f"{idea.time:.2f}",
                f"{idea.bytes / 1e6:.2f}",
            )
            for idea in ideas
        ]
        headers = ["int8 .tflite, or", "agreement, %", "worst, %", "mIoU lost", "time", "MB"]
        parts += [f"## {name}", f"Keras' mIoU: {100 * miou:.1f}.", table(rows, headers)]
    return page(*parts)


if __name__ == "__main__":
    main()
