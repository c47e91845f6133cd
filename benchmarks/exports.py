"""Measure the agreement of every network's files: alphas, decoders, unet_mini and encoders.

    python -m benchmarks.exports --data DIR [--steps 240]

Trains each network on ISBI 2012 membranes (slices 0-23) at 256 px, exports it, and proves the
files on slices 24-29 at their own 512 px. Runs that are already in --work are used again. Writes
`benchmarks/reference/<machine>/exports.{md,json}`. DIR holds `data/isbi2012_membranes` and
`weights/`; encoders without weights there start from scratch. Every command is printed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.percent import percent
from unet_edge.system.files import write_atomically
from unet_edge.system.timing import machine
from unet_edge.training.run_files import RESULT_FILE

_WEIGHTS = {
    "1.0": "mobilenet_1_0_224_tf_no_top.weights.h5",
    "0.25": "mobilenet_2_5_224_tf_no_top.h5",
}
_RECIPE = (
    "--classes cell,membrane --masks 'binary<=127' --size 256 --crop 128 --scale 0.75 1.33 --hue 0 "
    "--batch-size 8 --rounds 3"
)


@dataclass(frozen=True)
class Case:
    """A network: its name in tables, its settings, and the weights its encoder starts from."""

    name: str
    settings: str
    weights: str | None = None


_CASES = (
    *(
        Case(f"{decoder} {alpha}", f"--decoder {decoder} --alpha {alpha}", _WEIGHTS.get(alpha))
        for decoder in ("separable", "dense")
        for alpha in ("1.0", "0.75", "0.5", "0.25")
    ),
    Case("unet_mini", "--architecture unet_mini"),
    Case("V2", "--encoder mobilenet_v2"),
    Case("V3-Small", "--encoder mobilenet_v3_small"),
    Case("V3-Large", "--encoder mobilenet_v3_large"),
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), envvar="UNET_EDGE_DATA", required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/exports"))
@click.option("--steps", type=click.IntRange(1), default=240, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(data: Path, work: Path, steps: int, output: Path) -> None:
    """Train, export and write the report of this machine."""
    work.mkdir(parents=True, exist_ok=True)
    held_out = work / "membranes-val.txt"
    write_atomically(held_out, "\n".join(map(str, range(24, 30))) + "\n")
    bundles = {case: _exported(data, work, held_out, case, steps) for case in _CASES}
    facts = machine()
    target = named(output, facts, "exports")
    results = {
        "machine": facts,
        "steps": steps,
        "networks": {
            case.name: {
                "pretrained": case.weights is not None,
                "keras_miou": bundle.reference.label_miou,
                "files": bundle.to_dict()["files"],
            }
            for case, bundle in bundles.items()
        },
    }
    write_report(target, results, _markdown(bundles, facts, steps))
    print(f"written: {target}.md and .json")


def _exported(data: Path, work: Path, held_out: Path, case: Case, steps: int) -> Bundle:
    """A case's bundle; trains and exports it unless that is done."""
    run = work / f"{case.name.lower().replace(' ', '-')}-{steps}"
    if not (run / RESULT_FILE).is_file():
        weights = str(data / "weights" / case.weights) if case.weights else "none"
        settings = shlex.split(f"{_RECIPE} {case.settings} --steps {steps}")
        settings += ["--val-list", str(held_out), "--encoder-weights", weights]
        folder = data / "data" / "isbi2012_membranes"
        _command(["train", str(folder), "-o", str(run), "--overwrite", *settings])
    if not (run / "bundle" / MANIFEST).is_file():
        _command(["export", str(run), "--check", "1000"], check=False)  # 1: under a floor
    return Bundle.open(run / "bundle")


def _command(arguments: list[str], *, check: bool = True) -> None:
    print(f"\n$ unet-edge {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "unet_edge", *arguments], check=check)


def _markdown(bundles: dict[Case, Bundle], facts: dict[str, Any], steps: int) -> str:
    names = [entry.name for entry in next(iter(bundles.values())).files]
    agreements, drops = [], []
    for case, bundle in bundles.items():
        keras = bundle.reference.label_miou
        title = case.name if case.weights else f"{case.name}, from scratch"
        files = [bundle.file(name) for name in names]
        agreements.append(
            (
                title,
                "-" if keras is None else f"{100 * keras:.2f}",
                *(percent(entry.agreement) + ("" if entry.kept_floor else " !") for entry in files),
            )
        )
        drops.append((title, *(_drop(keras, entry.label_miou) for entry in files)))
    return page(
        "# Exports: agreement of every network",
        f"Made by `python -m benchmarks.exports --steps {steps}`. Machine: {spelled(facts)}.",
        f"Membranes at 256 px, {steps} batches of eight crops of 128 px, one seed, proven "
        "on six held-out slices at 512 px. The runs are short, and many start from scratch. "
        "Labels of such undecided models flip more often. `!`: under the file's floor.",
        "## Pixels as Keras, %",
        table(agreements, ["network", "Keras' mIoU", *names]),
        "## Points of mIoU lost (below 0: gained)",
        table(drops, ["network", *names]),
    )


def _drop(keras: float | None, file: float | None) -> str:
    return "-" if keras is None or file is None else f"{100 * (keras - file):.3f}"


if __name__ == "__main__":
    main()
