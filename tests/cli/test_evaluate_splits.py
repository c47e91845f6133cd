"""`evaluate --split`: test pictures, empty splits and ignored pixels, with a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tiny_models import CLASSES, H, W, tiny_tflite

from unet_edge.cli import main
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.spec import ModelSpec

NAMES = tuple(f"c{k}" for k in range(CLASSES))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    spec = ModelSpec(height=H, width=W, classes=NAMES)
    path.write_bytes(seal(tiny_tflite(), Contract(spec, "tflite", "float32")))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("train/a", "train/b", "val/c", "test/d", "test/e"):
        for folder, suffix in (("images", "jpg"), ("masks", "png")):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(0).integers(0, CLASSES, (H, W), np.uint8)
            if name == "test/d":
                values[0, :3] = 255
            picture = Image.fromarray(values if folder == "masks" else values * 60)
            picture.save(root / folder / f"{name}.{suffix}")
    return root


def evaluate(model: Path, data: Path, *options: object) -> Result:
    arguments = ["evaluate", model, "--data", data, *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_test_pictures_are_scored_and_ignored_pixels_are_reported(model: Path, data: Path) -> None:
    done = evaluate(model, data, "--split", "test")
    assert done.exit_code == 0, done.output
    assert "2 pictures (test)" in done.stdout
    # 3 of 2 x 24 pixels.
    assert "ignored: 3 pixels of the true masks (6.25%), of the mask value 255" in done.stdout
    assert "2 test pictures, never trained on" in done.stderr


def test_all_is_every_split(model: Path, data: Path) -> None:
    assert "5 pictures (all)" in evaluate(model, data, "--split", "all").stdout


def test_nothing_ignored_is_not_mentioned(model: Path, data: Path) -> None:
    assert "ignored:" not in evaluate(model, data).stdout


def test_a_split_that_is_empty(model: Path, data: Path) -> None:
    for folder in ("images", "masks"):
        for path in (data / folder / "test").iterdir():
            path.unlink()
    done = evaluate(model, data, "--split", "test")
    assert done.exit_code == 1
    assert "has no test pictures; name them in test.txt, put them in test/" in done.stderr
    assert "unet-edge data split" in done.stderr
