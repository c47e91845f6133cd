"""The diagnose command on a real bundle: figures, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image
from sealing import seal_manifest

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.images.decoding import decode
from unet_edge.images.placement import Placement
from unet_edge.runtime.argmax import to_labels


def run(*arguments: object, status: int = 0) -> Any:
    command = ["diagnose", *(str(a) for a in arguments)]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def test_the_figures_are_those_of_both_files_on_the_grid(bundle_path: Path) -> None:
    report = json.loads(run(bundle_path, "--json").stdout)
    assert (report["file"], report["reference"]) == ("model-int8.tflite", "model-float32.tflite")
    reference, candidate = (
        Segmenter.open(bundle_path, file=f) for f in (report["reference"], report["file"])
    )
    flipped = 0
    for photo in sorted((bundle_path / "golden").glob("??.png")):
        picture = decode(photo)
        place = Placement.plan(picture.size, reference.spec)
        grid = place.place(picture)
        labels = to_labels(np.array(reference.backend.scores(grid)))
        differ = labels != to_labels(candidate.backend.scores(grid))
        rows = slice(place.top, place.top + place.placed_height)
        flipped += int(differ[rows, place.left : place.left + place.placed_width].sum())
    assert flipped > 0
    assert report["flipped"] == flipped
    assert len(report["pictures"]) == 4
    assert report["layers"][-1]["tensor"] == "dec1_pw_relu_1/Relu6"  # not the scores of two classes


def test_onnx_files_are_diagnosed_too(bundle_path: Path) -> None:
    report = json.loads(run(bundle_path, "--file", "model-int8.onnx", "--json").stdout)
    assert report["reference"] == "model-float32.onnx"
    assert report["flipped"] > 0
    assert report["layers"][0]["tensor"] == "Conv_0"


def test_heat_maps_and_tables_are_written(bundle_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "diagnosis"
    shown = run(bundle_path, "-o", output, "--worst", 2).stdout
    assert "near ties" in shown
    assert "SQNR dB" in shown
    names = sorted(path.name for path in output.iterdir())
    assert names[2:] == ["layers.csv", "report.json"]
    worst = json.loads((output / "report.json").read_text())["pictures"]
    assert names[:2] == [f"{i:02d}-{Path(p['name']).stem}.png" for i, p in enumerate(worst[:2], 1)]
    with (output / "layers.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["tensor", "dtype", "sqnr_db", "cosine"]
    assert len(rows) > 30
    # The bundle's own mistakes are drawn: blue or red pixels on the last panel.
    sheet = np.array(Image.open(output / names[0]))
    marked = (sheet == (0, 90, 200)).all(-1) | (sheet == (200, 30, 0)).all(-1)
    assert marked.sum() == worst[0]["flipped"]
    before = (output / "report.json").read_bytes()
    again = run(bundle_path, "-o", output, status=1)
    assert "choose another --output" in again.stderr
    assert (output / "report.json").read_bytes() == before


def test_without_a_float32_file_the_export_that_fixes_it_is_named(
    bundle_path: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["files"] = [f for f in manifest["files"] if f["precision"] == "int8"]
    seal_manifest(copy, manifest)
    failed = run(copy, status=1)
    assert "--formats tflite-float32,tflite-int8" in failed.stderr
    wrong = run(bundle_path, "--file", "model-float32.tflite", status=1)
    assert "is a float32 file itself" in wrong.stderr
