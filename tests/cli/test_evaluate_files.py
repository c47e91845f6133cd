"""`evaluate --all-files`: every file of a bundle compared with the Keras model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from unet_edge import Bundle, Segmenter
from unet_edge.cli import main
from unet_edge.images.mask_file import read_labels
from unet_edge.masks.metrics import Confusion
from unet_edge.percent import percent

FILES = 6


@pytest.fixture(scope="module")
def run_with_bundle(
    run_path: Path, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The committed run with the committed bundle in it, as `export RUN` leaves them."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(run_path, run)
    shutil.copytree(bundle_path, run / "bundle")
    return run


def evaluate(*arguments: object) -> Result:
    command = ["evaluate", *map(str, arguments), "--all-files"]
    return CliRunner().invoke(main, command, catch_exceptions=False)


@pytest.fixture(scope="module")
def data(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures, one of them twice as large: pixels are counted, not pictures."""
    folder = Path(shutil.copytree(sample_data, tmp_path_factory.mktemp("data") / "cells"))
    name = (folder / "val.txt").read_text().split()[0]
    for kind in ("images", "masks"):
        with Image.open(folder / kind / f"{name}.png") as picture:
            large = picture.resize((384, 384), Image.Resampling.NEAREST)
        large.save(folder / kind / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def report(run_with_bundle: Path, data: Path) -> Any:
    done = evaluate(run_with_bundle, "--data", data, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_each_file_is_compared_with_keras(report: Any, run_with_bundle: Path, data: Path) -> None:
    assert report["reference"]["model"] == "model.keras"
    assert len(report["files"]) == FILES
    entry = next(each for each in report["files"] if each["model"] == "model-int8.tflite")
    keras = Segmenter.open(run_with_bundle)
    file = Segmenter.open(run_with_bundle / "bundle" / "model-int8.tflite")
    total, shares = Confusion.empty(2), {}
    same = pixels = 0
    for name in (data / "val.txt").read_text().split():
        picture = data / "images" / f"{name}.png"
        expected, labels = (each.segment(picture).labels for each in (keras, file))
        shares[name] = float((expected == labels).mean())
        same += int((expected == labels).sum())
        pixels += labels.size
        truth = np.asarray(read_labels(data / "masks" / f"{name}.png"))
        total += Confusion.of(truth, labels, 2)
    assert entry["agreement"] == same / pixels
    assert entry["agreement"] != pytest.approx(np.mean(list(shares.values())), abs=1e-6)
    assert entry["worst"] == min(shares.values())
    assert entry["worst_picture"] == min(shares, key=lambda name: shares[name])
    assert entry["miou"] == total.miou
    assert entry["drop"] == pytest.approx(100 * (report["reference"]["miou"] - total.miou))


def test_what_is_printed(report: Any, run_with_bundle: Path, data: Path) -> None:
    printed = evaluate(run_with_bundle, "--data", data).stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in printed if line}
    assert rows["model.keras"][1:4] == ["-", "-", f"{report['reference']['miou']:.4f}"]
    for entry in report["files"]:
        shares = [percent(entry["agreement"]), "%", percent(entry["worst"]), "%"]
        figures = [f"{entry['miou']:.4f}", f"{entry['drop']:+.2f}"]
        assert rows[entry["model"]][1:7] == [*shares, *figures]
    ious = [report["reference"], *report["files"]]
    assert rows["membrane"][1:] == [f"{each['iou']['membrane']:.4f}" for each in ious]
    assert "5 pictures (validation)" in printed


def test_a_bundle_alone_is_compared_with_its_float32_file(
    bundle_path: Path, sample_data: Path
) -> None:
    done = evaluate(bundle_path, "--data", sample_data, "--json")
    report = json.loads(done.stdout)
    first = report["reference"]["model"]
    assert Bundle.open(bundle_path).file(first).precision == "float32"
    shares = {each["model"]: each["agreement"] for each in report["files"]}
    assert shares[first] == 1
    assert shares["model-int8.tflite"] < 1
    assert first in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--file", "model-int8.tflite"], "--all-files and --file exclude each other"),
        (["-o", "there"], "--all-files and --output exclude each other"),
        (["--worst", "3"], "--all-files and --worst exclude each other"),
    ],
)
def test_options_of_one_file(
    arguments: list[str], message: str, run_with_bundle: Path, sample_data: Path
) -> None:
    done = evaluate(run_with_bundle, "--data", sample_data, *arguments)
    assert (done.exit_code, message in done.stderr) == (1, True), done.output


def test_a_run_without_a_bundle(run_path: Path, sample_data: Path) -> None:
    done = evaluate(run_path, "--data", sample_data)
    assert done.exit_code == 1
    assert f"holds no bundle; write one with 'unet-edge export {run_path}'" in done.stderr


def test_a_bundle_of_an_earlier_model(
    run_with_bundle: Path, sample_data: Path, tmp_path: Path
) -> None:
    import keras

    run = tmp_path / "run"
    shutil.copytree(run_with_bundle, run)
    model = keras.saving.load_model(run / "model.keras", compile=False)
    model.save(run / "model.keras")  # the same weights, another file
    done = evaluate(run, "--data", sample_data)
    assert done.exit_code == 1
    assert "was exported from another model" in done.stderr
