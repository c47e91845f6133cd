"""Measure how many steps a run needs to the same mIoU, by the weights that it starts from.

    python -m benchmarks.starting_points --data DIR [--steps 200]

Trains the smallest network on the feral cats from four starts: random weights, an encoder of
ImageNet, a run on the ISBI 2012 membranes, and a run on every second training picture of the cats.
The last two start with `train --weights`. Validates on the first test pictures. Runs that are in
--work already are used again, and an interrupted one is resumed. Every command is printed.

Writes `benchmarks/reference/<machine>/starting-points.{md,json}`. DIR holds
`data/isbi2012_membranes`, `data/feral_cat` and `weights/`.
"""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge.runtime.run_folder import PROGRESS_FOLDER
from unet_edge.runtime.segmenter import CONFIG_FILE
from unet_edge.system.files import write_atomically
from unet_edge.system.timing import machine
from unet_edge.training.config import read_config
from unet_edge.training.run_files import RESULT_FILE

_WEIGHTS = "mobilenet_2_5_224_tf_no_top.h5"  # alpha 0.25
_SETTINGS = "--size 128 --batch-size 8"
_CATS = "--classes background,cat"
_MEMBRANES = "--classes cell,membrane --masks 'binary<=127' --hue 0"
_ROUNDS = 5
_VALIDATION = 24  # pictures; more would take longer than the training


@dataclass(frozen=True)
class Start:
    """A run on the cats: what it starts from, and the learning rate (None: the default)."""

    name: str
    options: str
    learning_rate: float | None = None


@dataclass(frozen=True)
class Result:
    """The grid mIoU, 0..1, before the first step (None: not scored) and after each round."""

    start: str
    learning_rate: float
    before: float | None
    steps: tuple[int, ...]
    miou: tuple[float, ...]

    def steps_to(self, miou: float) -> int | None:
        """The steps of the first round that reaches a grid mIoU; 0 if the start does."""
        reached = [0] if self.before is not None and self.before >= miou else []
        reached += [s for s, m in zip(self.steps, self.miou, strict=True) if m >= miou]
        return reached[0] if reached else None


@click.command()
@click.option("--data", type=click.Path(path_type=Path), envvar="UNET_EDGE_DATA", required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/starting-points"))
@click.option("--steps", type=click.IntRange(_ROUNDS), default=200, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(data: Path, work: Path, steps: int, output: Path) -> None:
    """Train from each start and write the report of this machine."""
    work.mkdir(parents=True, exist_ok=True)
    cats, membranes = data / "data" / "feral_cat", data / "data" / "isbi2012_membranes"
    lists = _write_lists(work, cats)
    imagenet = f"--alpha 0.25 --encoder-weights {shlex.quote(str(data / 'weights' / _WEIGHTS))}"
    before = f"{_SETTINGS} --steps {2 * steps} --rounds 2 {imagenet}"
    validation = f"--val-list {shlex.quote(str(lists['val']))}"
    half = f"{_CATS} {validation} --train-list {shlex.quote(str(lists['half']))}"
    slices = f"{_MEMBRANES} --val-list {shlex.quote(str(lists['slices']))}"
    _train(membranes, work / "membranes", f"{before} {slices}")
    _train(cats, work / "half", f"{before} {half}")
    from_membranes = f"--weights {shlex.quote(str(work / 'membranes'))}"
    from_half = f"--weights {shlex.quote(str(work / 'half'))}"
    starts = (
        Start("random weights", "--alpha 0.25 --encoder-weights none"),
        Start("ImageNet's encoder", imagenet),
        Start("membranes", from_membranes),
        Start("membranes", from_membranes, 3e-4),
        Start("half of the cats", from_half),
        Start("half of the cats", from_half, 3e-4),
    )
    results = []
    for number, start in enumerate(starts):
        rate = f" --learning-rate {start.learning_rate}" if start.learning_rate else ""
        run = work / f"cats-{number}"
        _train(
            cats,
            run,
            f"{_CATS} {_SETTINGS} {validation} --steps {steps} --rounds {_ROUNDS} "
            f"{start.options}{rate}",
        )
        results.append(_result(start.name, run))
    facts = machine()
    target = named(output, facts, "starting-points")
    report = {"machine": facts, "steps": steps, "results": [asdict(each) for each in results]}
    write_report(target, report, _markdown(results, facts, steps))
    print(f"written: {target}.md and .json")


def _write_lists(work: Path, cats: Path) -> dict[str, Path]:
    """Write which pictures are validated on, and every second training picture of the cats."""
    train, test = ((cats / f"{name}.txt").read_text().split("\n") for name in ("train", "test"))
    names = {
        "val": [name for name in test if name][:_VALIDATION],
        "half": [name for name in train if name][::2],
        "slices": list(map(str, range(24, 30))),
    }
    for name, lines in names.items():
        write_atomically(work / f"{name}.txt", "\n".join(lines) + "\n")
    return {name: (work / f"{name}.txt").absolute() for name in names}


def _train(folder: Path, run: Path, settings: str) -> None:
    """Train, or resume, unless the run is complete."""
    if (run / RESULT_FILE).is_file():
        return
    if (run / PROGRESS_FOLDER / CONFIG_FILE).is_file():
        _command(["resume", str(run)])
    else:
        _command(["train", str(folder), "-o", str(run), *shlex.split(settings)])


def _command(arguments: list[str]) -> None:
    print(f"\n$ unet-edge {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "unet_edge", *arguments], check=True)


def _result(name: str, run: Path) -> Result:
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return Result(
        start=name,
        learning_rate=read_config(run).optimisation.learning_rate,
        before=json.loads((run / RESULT_FILE).read_text())["start_grid_miou"],
        steps=tuple(int(row["step"]) for row in rows),
        miou=tuple(float(row["validation_grid_miou"]) for row in rows),
    )


def _markdown(results: Sequence[Result], facts: dict[str, Any], steps: int) -> str:
    goal = max(result.miou[-1] for result in results if result.start == "ImageNet's encoder")
    rows = []
    for result in results:
        needed = result.steps_to(goal)
        rows.append(
            (
                result.start,
                f"{result.learning_rate:g}",
                "-" if result.before is None else f"{100 * result.before:.1f}",
                *(f"{100 * miou:.1f}" for miou in result.miou),
                f"more than {steps}" if needed is None else str(needed),
            )
        )
    headers = [
        "start", "learning rate", "before", *(str(step) for step in results[0].steps),
        f"steps to {100 * goal:.1f}",
    ]  # fmt: skip
    return page(
        "# Starting points: steps to the same mIoU",
        f"Made by `python -m benchmarks.starting_points --steps {steps}`. "
        f"Machine: {spelled(facts)}.",
        f"Feral cats, alpha 0.25, batches of eight pictures of 128 px, one seed. Grid mIoU in "
        f"points over {_VALIDATION} test pictures, before the first step and after each round. The "
        "last column has the steps of the first round that reaches what the run from ImageNet's "
        f"encoder has after {steps} steps. The run on the membranes and the one on half of the "
        f"training pictures had {2 * steps} steps from ImageNet's encoder before. A run is short "
        "and one seed is a single draw: differences of a point mean nothing.",
        table(rows, headers),
    )


if __name__ == "__main__":
    main()
