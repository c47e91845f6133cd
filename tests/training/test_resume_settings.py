"""What may change before `resume`: only the place of the data."""

import json
import shutil

import pytest

from unet_edge.demo.cells import CLASSES, write_dataset
from unet_edge.errors import ConfigError, DataError, TrainingError
from unet_edge.training.checkpoint import Checkpoint
from unet_edge.training.config import run_dataset
from unet_edge.training.resume import resume
from unet_edge.training.run import train
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.train_config import TrainConfig


class Interruption(Exception):
    pass


def interrupt_after(line):
    def say(text):
        if text.startswith(line):
            raise Interruption

    return say


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run interrupted after its first round of two, and its data."""
    root = tmp_path_factory.mktemp("begun")
    write_dataset(root / "data", train=4, validation=2, seed=1)
    for name in ("train", "val"):
        (root / "data" / f"{name}.txt").unlink()
    config = TrainConfig(
        data=root / "data",
        classes=CLASSES,
        size=(32, 32),
        network=Network("unet_mini"),
        encoder_weights="none",
        steps=4,
        rounds=2,
        batch_size=2,
    )
    with pytest.raises(Interruption):
        train(config, root / "run", say=interrupt_after("round 1 of 2"))
    return root


@pytest.fixture
def unfinished(begun, tmp_path):
    """A copy of it: (run, data)."""
    shutil.copytree(begun / "data", tmp_path / "data")
    run = shutil.copytree(begun / "run", tmp_path / "run")
    edit(run, str(begun / "data"), str(tmp_path / "data"))
    return run, tmp_path / "data"


def edit(run, old, new):
    path = run / "progress" / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_moved_data_is_not_a_change(unfinished):
    run, _ = unfinished
    assert resume(run).best_step in (2, 4)


def test_an_added_picture_does_not_change_the_split(unfinished):
    run, data = unfinished
    split = json.loads((run / "progress" / "split.json").read_text())
    for folder in ("images", "masks"):
        shutil.copy(data / folder / "cells-000.png", data / folder / "added.png")
    lines = []
    resume(run, say=lines.append)
    assert any("1 picture in no split, left out" in line for line in lines)
    # The finished run keeps it, for export and evaluate.
    assert json.loads((run / "split.json").read_text()) == split
    dataset = run_dataset(run)
    assert [sample.name for sample in dataset.validation] == split["validation"]


def test_a_missing_picture_is_reported(unfinished):
    run, data = unfinished
    name = json.loads((run / "progress" / "split.json").read_text())["train"][0]
    (data / "images" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=f"the run began with {name}, which is missing"):
        resume(run)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"unet_mini"', '"mobilenet_unet"', "network.architecture was unet_mini, now mobilenet_"),
        ("steps = 4", "steps = 2", "steps was 4, now 2"),
        ("rounds = 2", "rounds = 4", "rounds was 2, now 4"),
        ("seed = 0", "seed = 1", "seed was 0, now 1"),
        ('"membrane",', '"membrane", "x",', "classes was"),
        ('"adamw"', '"sgd"', "optimisation.optimizer was adamw, now sgd"),
    ],
)
def test_a_setting_that_was_changed_is_named(unfinished, old, new, says):
    run, _ = unfinished
    edit(run, old, new)
    with pytest.raises(ConfigError, match=f"config.toml was changed since the run began: .*{says}"):
        resume(run)


def test_a_checkpoint_without_its_settings_is_refused(unfinished):
    run, _ = unfinished
    path = run / "progress" / "checkpoint"
    kept = Checkpoint.read(path)
    del kept.facts["settings"]
    kept.write(path)
    with pytest.raises(TrainingError, match="a checkpoint without the settings it was made with"):
        resume(run)
