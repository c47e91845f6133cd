"""Measure scaled decoding: the time it saves, and how it changes masks.

    python -m benchmarks.decoding [RUN ...] [--photo FILE]

Times are from file to grid, full and scaled decoding in turns. The photo is a 12-megapixel JPEG:
FILE, or a generated one with the noise of a sensor.

For each run, the validation pictures are saved as JPEG and decoded in full and at half their size.
The grids are so small that the half is 1, 1.25, 1.5 and 2 times as long as the picture on the
grid. The report has the share of pixels (0..1) with the same label from the run's model, and the
mIoU of both against the true labels. As a control, it has the share of labels that stay the same
when a picture is saved as JPEG once more. The model is used as it was trained, with either
decoding.
"""

from __future__ import annotations

import dataclasses
import io
import statistics
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from tabulate import tabulate

from benchmarks.reporting import REFERENCE, named, page, spelled, write_report
from unet_edge.dataset import Dataset
from unet_edge.demo.cells import write_dataset
from unet_edge.images.decoding import decode, grid_of
from unet_edge.images.placement import Pixels, Placement, place, resize_labels
from unet_edge.masks.metrics import Confusion
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress
from unet_edge.system.timing import gemm_ms, machine

_SIZES = (224, 384, 512)
_TURNS = 15
_RATIOS = (1.0, 1.25, 1.5, 2.0)
_QUALITY = 90  # of the pictures as JPEG; the control saves them once more at 85


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--photo", type=click.Path(path_type=Path, exists=True))
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(runs: tuple[Path, ...], photo: Path | None, output: Path) -> None:
    """Measure times and each run's masks, and write the report of this machine."""
    facts = machine()
    before = gemm_ms()
    data = photo.read_bytes() if photo else _noisy_photo()
    times = [_times(data, size) for size in _SIZES]
    report = {
        "machine": facts,
        "gemm_ms": [before, gemm_ms()],
        "photo": {"bytes": len(data), "size": decode(data).size},
        "times": times,
        "masks": [row for run in runs for row in _masks(run)],
    }
    target = named(output, facts, "decoding")
    write_report(target, report, _markdown(report))
    click.echo(f"written: {target}.md and .json")


def _noisy_photo() -> bytes:
    """A generated JPEG of 4000x3000 px with a sensor's noise of brightness and of colour."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), train=1, validation=1, seed=0)
        first = sorted((Path(folder) / "images").iterdir())[0]
        picture = decode(first).resize((4000, 3000), Image.Resampling.BICUBIC)
    random = np.random.default_rng(0)
    noise = random.normal(0, 5, (3000, 4000, 1)) + random.normal(0, 2, (3000, 4000, 3))
    pixels = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
    return _jpeg(Image.fromarray(pixels), _QUALITY)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _times(data: bytes, size: int) -> dict[str, Any]:
    """Medians (ms) of full and scaled decoding in turns, and the median of the turns' ratios."""
    full = ModelSpec(size, size, ("a", "b"))
    scaled = dataclasses.replace(full, decoding="scaled")
    turns = []
    for _ in range(_TURNS + 1):
        turn = []
        for spec in (full, scaled):
            start = time.perf_counter()
            grid_of(data, spec)
            turn.append((time.perf_counter() - start) * 1e3)
        turns.append(turn)
    del turns[0]  # a warm-up: it allocates memory
    return {
        "grid": size,
        "full ms": statistics.median(turn[0] for turn in turns),
        "scaled ms": statistics.median(turn[1] for turn in turns),
        "scaled / full": statistics.median(turn[1] / turn[0] for turn in turns),
    }


def _masks(run: Path) -> list[dict[str, Any]]:
    from unet_edge.runtime.segmenter import SPEC_FILE, read_spec
    from unet_edge.training.config import run_dataset

    dataset, spec = run_dataset(run), read_spec(run / SPEC_FILE)
    edge = min(min(dataset.read(sample)[0].size) for sample in dataset.validation)
    # Networks need multiples of 16, so the real ratios differ a little from _RATIOS.
    grids = dict.fromkeys(round(edge / 2 / ratio / 16) * 16 for ratio in _RATIOS)
    return [_agreement(run, dataset, spec, size) for size in grids]


def _agreement(run: Path, dataset: Dataset, spec: ModelSpec, size: int) -> dict[str, Any]:
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.runtime.segmenter import KERAS_MODEL

    spec = dataclasses.replace(spec, height=size, width=size, decoding="scaled")
    model = load_keras(run / KERAS_MODEL)  # for each size: upsampling keeps the first size it sees

    def labels(grid: Pixels) -> Any:
        return np.asarray(model(grid[None], training=False))[0].argmax(-1).astype(np.uint8)

    classes = len(spec.classes)
    same, control, full_truth, half_truth = (Confusion.empty(classes) for _ in range(4))
    ratios = []
    for sample in progress(dataset.validation, f"{run.name} at {size} px"):
        picture, truth = dataset.read(sample)
        box = (picture.width // 2 * 2, picture.height // 2 * 2)  # even sides
        data = _jpeg(picture.crop((0, 0, *box)), _QUALITY)
        planned = Placement.plan(box, spec)
        stored = Image.open(io.BytesIO(data))
        stored.draft(None, (box[0] // 2, box[1] // 2))
        half = place(stored.convert("RGB"), spec)  # fills the same box as the full picture
        full = place(decode(data), spec)
        again = place(decode(_jpeg(decode(data), 85)), spec)
        full_labels, half_labels, resaved_labels = labels(full), labels(half), labels(again)
        inside = planned.box
        true_labels = resize_labels(
            np.ascontiguousarray(truth[: box[1], : box[0]]),
            planned.placed_height,
            planned.placed_width,
        )
        same += Confusion.of(full_labels[inside], half_labels[inside], classes)
        control += Confusion.of(full_labels[inside], resaved_labels[inside], classes)
        full_truth += Confusion.of(true_labels, full_labels[inside], classes)
        half_truth += Confusion.of(true_labels, half_labels[inside], classes)
        ratios.append(box[0] / 2 / planned.placed_width)
    return {
        "run": run.name,
        "grid": size,
        "half / grid": statistics.mean(ratios),
        "same labels": same.accuracy,
        "same when saved again": control.accuracy,
        "mIoU full": full_truth.miou,
        "mIoU scaled": half_truth.miou,
    }


def _markdown(report: dict[str, Any]) -> str:
    photo = report["photo"]
    parts = [
        "# Scaled decoding",
        "Made by `python -m benchmarks.decoding`. Machine: "
        f"{spelled(report['machine'])}; 512x512x512 "
        f"matrix product {' and '.join(f'{ms:.1f}' for ms in report['gemm_ms'])} ms before and "
        "after.",
        f"## From a JPEG of {photo['size'][0]}x{photo['size'][1]} px, {photo['bytes'] / 1e6:.1f} "
        "MB, to the grid",
        f"Medians of {_TURNS} turns, one thread.",
        tabulate(report["times"], "keys", tablefmt="github", floatfmt=".2f"),
    ]
    if report["masks"]:
        parts += [
            "## How it changes masks",
            "Each run's validation pictures as JPEG, decoded at half their size and in full. "
            "`half / grid`: the length of the half, divided by that of the picture on the grid.",
            tabulate(report["masks"], "keys", tablefmt="github", floatfmt=".4f"),
        ]
    return page(*parts)


if __name__ == "__main__":
    main()
