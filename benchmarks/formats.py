"""Measure the cost and agreement of each exported file, on generated and real data.

    python -m benchmarks.formats                       # generated cells; no data needed
    python -m benchmarks.formats --data DIR            # membranes and cats as well
    UNET_EDGE_DATA=DIR python -m benchmarks.formats    # the same

Trains, exports and measures each model, and writes
`benchmarks/reference/<machine>/formats.{md,json}`. Bundles that are already in --work are used
again. Each training and export is a command of unet-edge, which is printed. DIR holds
`data/isbi2012_membranes`, `data/feral_cat` and `weights/`.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.reporting import REFERENCE, named, page, spelled, write_report
from unet_edge.benchmarking.measurement import measure_bundle
from unet_edge.benchmarking.results import BenchmarkResult
from unet_edge.benchmarking.tables import tables
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.demo.pipeline import make_data, train_settings
from unet_edge.runtime.segmenter import KERAS_MODEL
from unet_edge.system.files import write_atomically

_ENCODER = Path("weights", "mobilenet_1_0_224_tf_no_top.weights.h5")


@dataclass(frozen=True)
class Task:
    """A model to train: its title for the table, data folder and training settings."""

    name: str
    title: str
    data: Path
    settings: str


def tasks(data: Path | None, work: Path) -> list[Task]:
    """The tasks that can run: the generated one, and with their data the real ones."""
    generated = Task(
        "cells",
        "Generated cells, alpha 0.5 from scratch, 192x192",
        work / "cells-data" / "data",
        train_settings(),
    )
    if data is None:
        return [generated]
    encoder = shlex.quote(str(data / _ENCODER))
    held_out = work / "membranes-val.txt"
    return [
        generated,
        Task(
            "membranes",
            "ISBI 2012 membranes, alpha 1.0, 512x512, trained on slices 0-23",
            data / "data" / "isbi2012_membranes",
            f"--name membranes --classes cell,membrane --size 512 --crop 256 --scale 0.75 1.33 "
            f"--masks 'binary<=127' --val-list {shlex.quote(str(held_out))} --hue 0 "
            f"--encoder-weights {encoder} --steps 960 --batch-size 4",
        ),
        Task(
            "cats",
            "Feral cats, alpha 1.0, 256x256, official split",
            data / "data" / "feral_cat",
            f"--name cats --classes background,cat --size 256 --encoder-weights {encoder} "
            f"--val-list {shlex.quote(str(data / 'data' / 'feral_cat' / 'test.txt'))} --steps 495",
        ),
    ]


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="UNET_EDGE_DATA",
    help="Folder of the real data and weights.  [default: $UNET_EDGE_DATA]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("runs/formats"),
    show_default=True,
    help="Folder of runs and bundles; existing ones are used again.",
)
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=REFERENCE, help="Folder of the report."
)
def main(data: Path | None, work: Path, runs: int, output: Path) -> None:
    """Train, export and measure; write the report of this machine."""
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(work / "membranes-val.txt", "\n".join(map(str, range(24, 30))) + "\n")
    measured: list[tuple[Task, BenchmarkResult]] = []
    for task in tasks(data, work):
        bundle = _prepare(task, work)
        print(f"\nmeasuring {task.title}", flush=True)
        measured.append((task, measure_bundle(bundle, runs=runs, keras=work / task.name)))
    target = named(output, measured[0][1].machine, "formats")
    results = {task.name: result.to_dict() for task, result in measured}
    write_report(target, results, _markdown(measured))
    print(f"written: {target}.md and .json")


def _prepare(task: Task, work: Path) -> Bundle:
    """The bundle of a task; trains and exports unless that is done."""
    run = work / task.name
    if task.name == "cells" and not task.data.is_dir():
        make_data(task.data.parent)
    if not (run / KERAS_MODEL).is_file():
        _command(["train", str(task.data), "-o", str(run), *shlex.split(task.settings)])
    if not (run / "bundle" / MANIFEST).is_file():
        _command(["export", str(run), "--check", "1000"])
    return Bundle.open(run / "bundle")


def _command(arguments: list[str]) -> None:
    print(f"\n$ unet-edge {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "unet_edge", *arguments], check=True)


def _markdown(measured: list[tuple[Task, BenchmarkResult]]) -> str:
    first = measured[0][1]
    parts = [
        "# Formats: cost and agreement",
        f"Made by `python -m benchmarks.formats` on {first.date}. "
        f"Machine: {spelled(first.machine)}.",
        "Label mIoU is over all held-out pictures, measured at export. Agreement and mask mIoU "
        "compare with the Keras model's masks of the bundle's golden pictures, measured here.",
    ]
    for task, result in measured:
        parts += [f"## {task.title}", tables(result, "github")]
    return page(*parts)


if __name__ == "__main__":
    main()
