"""Measure the agreement of int8 files against the number of calibration pictures.

    python -m benchmarks.calibration RUN [RUN ...]

For each training run, fits, calibrates and converts the default int8 .tflite file with more and
more training pictures, three random draws each. Compares each file with Keras on all validation
pictures, on the model's grid. Writes `benchmarks/reference/<machine>/calibration.{md,json}`.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from converters.float_layers import float_layers_of
from converters.int8.calibration import calibration_grids
from converters.int8.fitting import fit_to_int8
from converters.tflite.conversion import to_tflite
from unet_edge.dataset import Dataset
from unet_edge.images.decoding import grid_of
from unet_edge.images.placement import Pixels
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.keras_model import KerasBackend, load_keras
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress
from unet_edge.system.timing import machine
from unet_edge.training.config import run_dataset

_COUNTS = (1, 2, 4, 8, 16, 32, 64, 100, 200)
_DRAWS = 3


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(runs: tuple[Path, ...], output: Path) -> None:
    """Measure each run's curve and write the report of this machine."""
    curves = {run.name: _curve(run) for run in runs}
    facts = machine()
    target = named(output, facts, "calibration")
    report = {"machine": facts, "agreement": curves}
    write_report(target, report, _markdown(curves, facts))
    print(f"written: {target}.md and .json")


def _curve(run: Path) -> dict[int, list[float]]:
    """Agreement (0..1) of each draw, by the number of pictures."""
    model, spec = load_keras(run / KERAS_MODEL), read_spec(run / SPEC_FILE)
    dataset = run_dataset(run)
    held_out = [grid_of(sample.image, spec) for sample in dataset.validation]
    reference = KerasBackend(model)
    expected = [reference.labels(grid) for grid in progress(held_out, "Keras reference")]
    curve: dict[int, list[float]] = {}
    for count in _COUNTS:
        if count > len(dataset.train):
            break
        draws = _DRAWS if count < len(dataset.train) else 1  # all pictures are a single draw
        curve[count] = [
            _agreement(model, spec, dataset, count, seed, held_out, expected)
            for seed in range(draws)
        ]
        print(f"{run.name}: {count} pictures, {curve[count]}", flush=True)
    return curve


def _agreement(
    model: keras.Model,
    spec: ModelSpec,
    dataset: Dataset,
    count: int,
    seed: int,
    held_out: list[Pixels],
    expected: list[NDArray[np.uint8]],
) -> float:
    grids = calibration_grids(dataset, spec, count=count, seed=seed)
    fitted = fit_to_int8(model, grids, float_layers_of(model))
    backend = open_backend(to_tflite(fitted, spec, "int8", grids), "tflite")
    same = [
        (to_labels(backend.scores(grid)) == labels).mean()
        for grid, labels in zip(held_out, expected, strict=True)
    ]
    return float(np.mean(same))


def _markdown(curves: dict[str, dict[int, list[float]]], facts: dict[str, Any]) -> str:
    parts = [
        "# Calibration: how many pictures",
        f"Made by `python -m benchmarks.calibration`. Machine: {spelled(facts)}.",
        "Share of pixels with Keras' label, int8 TFLite, all validation pictures on the model's "
        "grid. A draw's pictures serve calibration and the correction of channels, which uses at "
        "most 24 of them.",
    ]
    for name, curve in curves.items():
        rows = [
            (
                count,
                len(draws),
                f"{100 * statistics.mean(draws):.3f}",
                f"{100 * min(draws):.3f}",
                f"{100 * max(draws):.3f}",
            )
            for count, draws in curve.items()
        ]
        headers = ["pictures", "draws", "mean, %", "worst draw", "best draw"]
        parts += [
            f"## {name}",
            table(rows, headers),
        ]
    return page(*parts)


if __name__ == "__main__":
    main()
