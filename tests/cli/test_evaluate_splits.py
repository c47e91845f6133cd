"""`evaluate --split`: test pictures, empty splits and ignored pixels, with a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from command_line import refused
from PIL import Image
from tiny_models import CLASSES, H, W, tiny_tflite

from unet_edge.cli import main
from unet_edge.dataset.split_file import SplitNames
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
    # A file alone does not say what it was trained on.
    assert "2 test pictures" in done.stderr
    assert "never trained on" not in done.stderr


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


def test_a_test_list_that_is_empty(run_file: Path, data: Path) -> None:
    (data / "none.txt").touch()
    options = ("--data", data, "--split", "test", "--test-list", data / "none.txt")
    line = f"error: the list {data / 'none.txt'} is empty; name at least one test picture in it"
    assert refused("evaluate", run_file, *options).splitlines()[-1] == line


# --- a run's own split --------------------------------------------------------------------------


@pytest.fixture
def run_file(model: Path, data: Path, tmp_path: Path) -> Path:
    """A file in the folder of a run that trained on train/a and train/b of `data`."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").touch()
    (run / "config.toml").write_text(f"data = {json.dumps(str(data))}\n")
    split(run, train=("train/a", "train/b"), validation=("val/c",), test=("test/d", "test/e"))
    return Path(shutil.move(model, run))


def split(run: Path, **names: tuple[str, ...]) -> None:
    (run / "split.json").write_text(SplitNames(**names).to_json())


def warnings(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return [line for line in done.stderr.splitlines() if "pictures that the run" in line]


def test_test_pictures_of_the_run_were_never_trained_on(run_file: Path, data: Path) -> None:
    done = evaluate(run_file, data, "--split", "test")
    assert warnings(done) == []
    assert "2 test pictures, never trained on" in done.stderr


def test_a_damaged_split_file_ends_only_an_evaluation_of_the_runs_data(
    run_file: Path, data: Path, tmp_path: Path
) -> None:
    split_file = run_file.parent / "split.json"
    split_file.write_text("{}")
    done = evaluate(run_file, data)
    assert done.exit_code == 1
    assert f"error: {split_file} is not the split of a run" in done.stderr
    copy = shutil.copytree(data, tmp_path / "copy")
    done = evaluate(run_file, copy)
    assert done.exit_code == 0, done.output
    (note,) = [line for line in done.stderr.splitlines() if "split.json" in line]
    assert note.startswith(f"WARNING: {split_file} is not the split of a run: ")
    assert note.endswith("; pictures that the run trained on are not recognised")


def test_training_pictures_in_a_copy_of_the_data(
    run_file: Path, data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        shutil.copy(copy / folder / f"val/c.{suffix}", copy / folder / f"val/new.{suffix}")
    (copy / "mine.txt").write_text("train/a\nval/c\ntest/d\n")
    done = evaluate(run_file, copy, "--split", "test", "--test-list", copy / "mine.txt")
    trained, validated = warnings(done)
    assert "names of pictures that the run trained on: 1 of 3 (train/a)" in trained
    assert "if they are the same pictures, the figures say nothing about new pictures" in trained
    assert "names of pictures that the run validated on: 1 of 3 (val/c)" in validated
    assert "3 test pictures" in done.stderr
    assert "never trained on" not in done.stderr


def test_training_pictures_in_other_folders(run_file: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for old, new in (("test/d", "train/x"), ("val/c", "val/y"), ("train/a", "test/a")):
        for folder, suffix in (("images", "jpg"), ("masks", "png")):
            (other / folder / new).parent.mkdir(parents=True)
            shutil.copy(data / folder / f"{old}.{suffix}", other / folder / f"{new}.{suffix}")
    (warning,) = warnings(evaluate(run_file, other, "--split", "test"))
    assert "names of pictures that the run trained on: 1 of 1 (test/a)" in warning


def test_training_pictures_in_a_list_for_the_runs_own_data(run_file: Path, data: Path) -> None:
    (data / "mine.txt").write_text("train/a\ntest/d\n")
    options = ("--split", "test", "--test-list", data / "mine.txt")
    done = evaluate(run_file, data, *options)
    (warning,) = warnings(done)
    assert "WARNING: pictures that the run trained on: 1 of 2 (train/a); the figures say" in warning


def test_a_warning_about_a_picture_names_it(run_file: Path, data: Path) -> None:
    (data / "mine.txt").write_text("train/a\ntrain/b\n")
    (data / "val.txt").write_text("val/c\n")
    (data / "train.txt").write_text("train/a\ntrain/b\ntest/d\n")
    done = evaluate(run_file, data, "--split", "test", "--test-list", data / "mine.txt")
    first = data / "images" / "train" / "a.jpg"
    assert f"WARNING: {first} (and 1 more): is in both train.txt and mine.txt" in done.stderr
    assert "not trained on" not in done.stderr  # the run did train on it


def test_a_run_that_began_without_test_pictures(run_file: Path, data: Path) -> None:
    split(run_file.parent, train=("train/a",), validation=("val/c",), test=())
    done = evaluate(run_file, data, "--split", "test")
    assert done.exit_code == 1
    fix = f"train again after 'unet-edge data split {data}', or pass --test-list with new pictures"
    assert f"the run began without test pictures; {fix}" in done.stderr
    (data / "test.txt").write_text("test/d\n")
    done = evaluate(run_file, data, "--split", "test")
    assert (
        f"the run began without test pictures; those in {data / 'test.txt'} may have been trained "
        f"or validated on; {fix}"
    ) in done.stderr
