"""Measure the memory, time and seams of a large picture in tiles.

    python -m benchmarks.tiling --task BUNDLE PICTURES SCALE [--task ...]

Joins the pictures of a folder to one of 4000x6000 px, mirrored at their joints, and segments it in
tiles. SCALE is the size on the model's grid divided by the pictures' own. Memory and time are
those of a new process, from the JPEG file to the mask's PNG file.

Such a picture has no true mask. The reference is a mask of tiles that overlap by 0.7: a dozen
tiles see each pixel, and no pixel is at the border of most of them. (With an overlap of 3/4, every
third tile would coincide with a tile of overlap 1/4.) Two figures show seams:

- the share of pixels that differ from the reference, near lines and elsewhere. Lines are the
  borders of tiles and the middle lines of overlaps, where a hard cut has its seam. Near is within
  8 px of the grid;
- breaks: how often the label changes across a line, divided by how often it does in the reference
  across the same line. A visible seam is a straight line of changes; without seams the figure is
  1. A hard cut has no seam at the borders of overlapping tiles, so its figure there shows the
  effect of chance.

Other programs' methods run with the same tiles: each pixel from the nearest tile (hard), plain
means (the default of MONAI's SlidingWindowInferer, overlap 1/4), and Gaussian weights of sigma 1/8
(MONAI's other mode; nnU-Net, overlap 1/2). Our ramp also runs on probabilities instead of logits.
SAHI is left out: it merges boxes.

Writes `benchmarks/reference/<machine>/tiling.{md,json}`.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge.images.decoding import decode
from unet_edge.images.listing import list_pictures
from unet_edge.images.placement import Labels, Pixels
from unet_edge.masks.upsampling import Logits
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.tile_settings import Tiles
from unet_edge.runtime.tiling import Axis, Tiling, normalised, tiled_labels
from unet_edge.system.files import json_text
from unet_edge.system.progress import progress
from unet_edge.system.timing import gemm_ms, machine

_NEAR = 8
_DENSE = 0.7

METHODS: tuple[tuple[str, float], ...] = (
    ("hard", 0.0),
    ("hard", 0.25),
    ("mean", 0.25),
    ("gaussian", 0.25),
    ("gaussian", 0.5),
    ("ramp of probabilities", 0.25),
    ("ramp", 0.125),
    ("ramp", 0.25),
    ("ramp", 0.375),
    ("ramp", 0.5),
)
"""How tiles are joined, and their overlap as a share of a tile. Ours is the ramp."""

_CHILD = """
import json, sys, time
started = time.perf_counter()
from unet_edge import Segmenter, Tiles
from unet_edge.system.timing import peak_memory
bundle, picture, mask, scale = sys.argv[1:]
segmenter = Segmenter.open(bundle)
opened = peak_memory()
tiles = Tiles(scale=float(scale)) if float(scale) else None
begun = time.perf_counter()
result = segmenter.segment(picture, tiles=tiles)
done = time.perf_counter()
segmented = peak_memory()
result.save(mask)
print(json.dumps({"opened_mib": opened, "segmented_mib": segmented, "saved_mib": peak_memory(),
                  "seconds": done - begun, "saving_seconds": time.perf_counter() - done}))
"""


@click.command()
@click.option(
    "--task",
    "tasks",
    type=(click.Path(path_type=Path, exists=True), click.Path(path_type=Path, exists=True), float),
    multiple=True,
    required=True,
    metavar="BUNDLE PICTURES SCALE",
    help="A model, pictures of its kind, and their size on its grid divided by their own.",
)
@click.option("--size", type=(int, int), default=(4000, 6000), help="Width and height, px.")
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
def main(
    tasks: tuple[tuple[Path, Path, float], ...],
    size: tuple[int, int],
    output: Path,
    as_json: bool,
) -> None:
    """Measure each task and write the report of this machine."""
    before = gemm_ms()
    results = [measure(bundle, pictures, scale, size) for bundle, pictures, scale in tasks]
    facts = machine()
    report = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": facts,
        "gemm_before_ms": before,
        "gemm_after_ms": gemm_ms(),
        "size": size,
        "near_px": _NEAR,
        "tasks": results,
    }
    write_report(named(output, facts, "tiling"), report, markdown(report))
    print(json_text(report) if as_json else markdown(report), end="")


def measure(bundle: Path, pictures: Path, scale: float, size: tuple[int, int]) -> dict[str, Any]:
    """Cost with and without tiles, and a row for each of METHODS."""
    segmenter = Segmenter.open(bundle)
    picture = mosaic([decode(path) for path in list_pictures(pictures)], *size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.jpg")
        picture.save(path, quality=92)
        costs = {"tiles": _costs(bundle, path, scale), "letterbox": _costs(bundle, path, 0)}
        picture = decode(path)
    dense, _ = _joined(segmenter, picture, Tiles(_DENSE, scale), "ramp")
    rows = []
    for method, overlap in progress(METHODS, "methods"):
        started = time.perf_counter()
        labels, tiling = _joined(segmenter, picture, Tiles(overlap, scale), method)
        seconds = time.perf_counter() - started
        row = {"method": method, "overlap": overlap, "tiles": tiling.count, "seconds": seconds}
        rows.append({**row, **_seams(labels, dense, tiling, round(_NEAR / scale))})
    return {
        "bundle": bundle.name,
        "file": segmenter.name,
        "grid": segmenter.spec.size,
        "scale": scale,
        "pictures": pictures.name,
        "costs": costs,
        "rows": rows,
    }


def mosaic(parts: list[Image.Image], width: int, height: int) -> Image.Image:
    """Join pictures side by side in rows, every second one mirrored, RGB.

    The first picture is cut at the top and left, so that joints and borders of tiles differ.
    """
    result = Image.new("RGB", (width, height))
    count, row, top = 0, 0, -parts[0].height // 3
    while top < height:
        high = parts[count % len(parts)].height
        column, left = 0, -parts[count % len(parts)].width // 3
        while left < width:
            part = parts[count % len(parts)]
            part = part.resize((max(1, part.width * high // part.height), high))
            part = ImageOps.mirror(part) if column % 2 else part
            result.paste(ImageOps.flip(part) if row % 2 else part, (left, top))
            left += part.width
            column, count = column + 1, count + 1
        top, row = top + high, row + 1
    return result


def _costs(bundle: Path, picture: Path, scale: float) -> dict[str, float]:
    """Peak memory (MiB) and time (s) of a new process; with scale 0 it uses no tiles."""
    command = [sys.executable, "-P", "-c", _CHILD, bundle, picture, picture.with_suffix(".png")]
    done = subprocess.run(
        [*map(str, command), str(scale)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    costs: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return costs


def _joined(
    segmenter: Segmenter, picture: Image.Image, tiles: Tiles, method: str
) -> tuple[Labels, Tiling]:
    tiling = Tiling.plan(picture.size, segmenter.spec, tiles)
    tiling = dataclasses.replace(
        tiling, rows=_weighted(tiling.rows, method), columns=_weighted(tiling.columns, method)
    )
    score: Callable[[Pixels], Logits] = segmenter.logits
    if method == "ramp of probabilities":

        def score(pixels: Pixels) -> Logits:
            logits = segmenter.logits(pixels)
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
            shares: Logits = powers / powers.sum(axis=-1, keepdims=True)
            return shares

    return tiled_labels(picture, tiling, score, "nearest", lambda done, total: None), tiling


def _weighted(axis: Axis, method: str) -> Axis:
    """The same tiles with the weights of `method`."""
    match method:
        case "mean":
            window = np.ones(axis.length, np.int64)
        case "gaussian":
            position = (np.arange(axis.length) - (axis.length - 1) / 2) / axis.length
            window = np.rint(1e6 * np.exp(-((8 * position) ** 2) / 2)).astype(np.int64)
        case "hard":
            middles = np.array(axis.starts) * 2 + axis.length
            pixels = np.arange(axis.size) * 2 + 1
            nearest = np.abs(pixels[:, None] - middles).argmin(axis=1)
            return dataclasses.replace(
                axis,
                weights=tuple(
                    (nearest[start : start + axis.length] == index).astype(np.float32)
                    for index, start in enumerate(axis.starts)
                ),
            )
        case _:
            return axis
    return dataclasses.replace(axis, weights=normalised(window, axis.starts, axis.size))


def _seams(labels: Labels, dense: Labels, tiling: Tiling, near: int) -> dict[str, float]:
    """Shares of pixels that differ (0..1), near lines and elsewhere, and breaks at both lines."""
    close = np.zeros(labels.shape, bool)
    # Rows: at borders, at middle lines. Columns: in `labels`, in the reference.
    changes = np.zeros((2, 2), np.int64)
    for number, axis in enumerate((tiling.rows, tiling.columns)):
        for kind, lines in enumerate((_borders(axis), _middles(axis))):
            for line in lines:
                close.swapaxes(0, number)[max(0, line - near) : line + near] = True
            for column, mask in enumerate((labels, dense)):
                along = mask.swapaxes(0, number)
                changes[kind, column] += sum(
                    int((along[line] != along[line - 1]).sum()) for line in lines
                )
    differs = labels != dense
    own, reference = changes.T
    return {
        "differ": float(differs.mean()),
        "differ_near": float(differs[close].mean()),
        "differ_elsewhere": float(differs[~close].mean()),
        "breaks_at_borders": float(own[0] / reference[0]),
        "breaks_at_middles": float(own[1] / reference[1]),
        "share_near": float(close.mean()),
    }


def _borders(axis: Axis) -> list[int]:
    """The pixels inside the picture where a tile begins or ends."""
    ends = {start + axis.length for start in axis.starts}
    return sorted((ends | set(axis.starts)) - {0, axis.size})


def _middles(axis: Axis) -> list[int]:
    """The pixels where the next tile's centre becomes the nearer one."""
    starts: NDArray[np.int64] = np.array(axis.starts)
    return [int(line) for line in (starts[1:] + starts[:-1] + axis.length) // 2]


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    facts = spelled(report["machine"])
    width, height = report["size"]
    megapixels = width * height / 1e6
    parts = [
        "# Tiles of a large picture",
        f"Made by `python -m benchmarks.tiling` on {report['date']}. Machine: {facts}. Its matrix "
        f"product took {report['gemm_before_ms']:.1f} ms before and "
        f"{report['gemm_after_ms']:.1f} ms after; other work on the machine changes times.",
        f"Pictures joined to {width}x{height} px. Costs are those of a process from JPEG file to "
        f"mask. The reference for seams is a mask of tiles that overlap by {_DENSE}. Pixels that "
        f"differ from it: in all, within {report['near_px']} px (of the grid) of tiles' borders "
        "and of overlaps' middle lines, and elsewhere. Breaks are changes of label across these "
        "lines, divided by the reference's changes across the same lines.",
    ]
    for task in report["tasks"]:
        rows, columns = task["grid"]
        parts.append(
            f"## {task['bundle']}, {task['file']}, {rows}x{columns} px, scale {task['scale']:g}"
        )
        costs = [
            (
                name,
                f"{cost['opened_mib']:.0f}",
                f"{cost['segmented_mib']:.0f}",
                f"{cost['saved_mib']:.0f}",
                f"{cost['seconds']:.1f}",
                f"{cost['seconds'] / megapixels:.2f}",
            )
            for name, cost in task["costs"].items()
        ]
        headers = ["", "peak MiB, opened", "segmented", "saved", "s", "s per megapixel"]
        parts.append(table(costs, headers))
        lines = [
            (
                row["method"],
                f"{row['overlap']:g}",
                row["tiles"],
                f"{100 * row['differ']:.3f}",
                f"{100 * row['differ_near']:.3f}",
                f"{100 * row['differ_elsewhere']:.3f}",
                f"{row['differ_near'] / row['differ_elsewhere']:.2f}",
                f"{row['breaks_at_borders']:.2f}",
                f"{row['breaks_at_middles']:.2f}",
                f"{row['seconds']:.1f}",
            )
            for row in task["rows"]
        ]
        headers = ["joined by", "overlap", "tiles", "differ %", "near", "elsewhere", "ratio"]
        headers += ["breaks at borders", "at middles", "s"]
        parts.append(table(lines, headers))
    return page(*parts)


if __name__ == "__main__":
    main()
