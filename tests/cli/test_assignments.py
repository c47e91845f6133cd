"""`train --set KEY=VALUE`: every setting, in TOML, and the error for a wrong key or value."""

import tomllib
from operator import attrgetter
from pathlib import Path

import pytest
from click.testing import CliRunner

from unet_edge.cli import main
from unet_edge.cli.settings import LEAVES, nested
from unet_edge.errors import ConfigError
from unet_edge.training.settings.train_config import TrainConfig

# For each setting a value that is not its default: as typed, and as the settings hold it.
VALUES = {
    "data": ('"/data/cats"', Path("/data/cats")),
    "classes": ('["sky", "überall"]', ("sky", "überall")),
    "size": ("[64, 96]", (64, 96)),
    "crop": ("[32, 48]", (32, 48)),
    "masks": ("'binary<=127'", "binary<=127"),
    "ignore": ("7", 7),
    "mask_names": ('"NAME_mask"', "NAME_mask"),
    "crowds": ('"take"', "take"),
    "train_list": ('"/lists/train.txt"', Path("/lists/train.txt")),
    "validation_list": ('"/lists/val.txt"', Path("/lists/val.txt")),
    "test_list": ('"/lists/test.txt"', Path("/lists/test.txt")),
    "split_by": ('"pictures"', "pictures"),
    "name": ('"a=b"', "a=b"),
    "fit": ('"stretch"', "stretch"),
    "resample": ('"box"', "box"),
    "decoding": ('"full"', "full"),
    "bit_depth": ("12", 12),
    "encoder_weights": ('"/weights/encoder.h5"', "/weights/encoder.h5"),
    "steps": ("77", 77),
    "rounds": ("6", 6),
    "patience": ("2", 2),
    "batch_size": ("3", 3),
    "augment": ("false", False),
    "tensorboard": ("true", True),
    "seed": ("5", 5),
    "network.architecture": ('"unet_mini"', "unet_mini"),
    "network.decoder": ('"dense"', "dense"),
    "network.alpha": ("0.5", 0.5),
    "network.encoder": ('"mobilenet_v2"', "mobilenet_v2"),
    "loss.cross_entropy": ("0.25", 0.25),
    "loss.focal": ("0.5", 0.5),
    "loss.dice": ("2", 2.0),
    "loss.focal_gamma": ("1.5", 1.5),
    "loss.class_weights": ("[1, 2.5]", (1.0, 2.5)),
    "loss.balanced": ("true", True),
    "optimisation.optimizer": ('"sgd"', "sgd"),
    "optimisation.learning_rate": ("5e-4", 0.0005),
    "optimisation.weight_decay": ("0.003", 0.003),
    "optimisation.schedule": ('"constant"', "constant"),
    "optimisation.warmup": ("0.1", 0.1),
    "optimisation.final_rate": ("0.2", 0.2),
    "optimisation.ema": ("0.05", 0.05),
    "optimisation.freeze": ("0.3", 0.3),
    "optimisation.precision": ('"auto"', "auto"),
    "augmentation.horizontal_flip": ("false", False),
    "augmentation.any_orientation": ("true", True),
    "augmentation.scale": ("[0.9, 1.1]", (0.9, 1.1)),
    "augmentation.aspect": ("0.2", 0.2),
    "augmentation.rotation": ("15", 15.0),
    "augmentation.elastic": ("3", 3.0),
    "augmentation.hue": ("0.01", 0.01),
    "augmentation.saturation": ("0.02", 0.02),
    "augmentation.brightness": ("0.03", 0.03),
    "augmentation.contrast": ("0.04", 0.04),
    "augmentation.blur": ("1.5", 1.5),
    "augmentation.noise": ("0.06", 0.06),
    "weights": ('"/runs/cats"', Path("/runs/cats")),
    "weights_sha256": (f'"{"ab" * 32}"', "ab" * 32),
    "distillation.teacher": ('"/runs/teacher"', Path("/runs/teacher")),
    "distillation.weight": ("0.75", 0.75),
    "distillation.temperature": ("3", 3.0),
}


def test_every_setting_is_tried():
    assert set(VALUES) == set(LEAVES)


@pytest.mark.parametrize("key", VALUES)
def test_a_setting_arrives_alone_and_stays_in_the_toml(key):
    text, value = VALUES[key]
    options = {} if key == "data" else {"data": Path("/data/cats")}
    given = nested(options, [f"{key}={text}"])
    if key.startswith("distillation.") and key != "distillation.teacher":
        given["distillation"]["teacher"] = "/runs/teacher"
    if key == "weights":
        given["encoder_weights"] = "none"  # they come from the run
    config = TrainConfig.from_dict(given, "the options")
    found = attrgetter(key)(config)
    assert found == value
    assert type(found) is type(value)
    assert TrainConfig.from_toml(config.to_toml(), "config.toml") == config
    plain = TrainConfig(data=Path("/data/cats"))
    before, after = (tomllib.loads(each.to_toml()) for each in (plain, config))
    table, _, name = key.rpartition(".")
    if table == "distillation":
        del after[table]
    else:
        for settings in (before, after):
            (settings[table] if table else settings).pop(name, None)
            if key == "weights":
                del settings["encoder_weights"]
    assert before == after
    if key != "data":
        assert LEAVES[key].default != value


def test_the_last_value_of_a_key_counts_as_for_options():
    assert nested({}, ["steps=5", "steps = 6", "loss.dice=1"]) == {
        "steps": 6,
        "loss": {"dice": 1},
    }


def test_relative_paths_are_those_of_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = nested({}, ['data="cats"', 'encoder_weights="w.h5"', 'distillation.teacher="old"'])
    assert given["data"] == str(tmp_path / "cats")
    assert given["encoder_weights"] == str(tmp_path / "w.h5")
    assert given["distillation"]["teacher"] == str(tmp_path / "old")
    assert nested({}, ['encoder_weights="none"']) == {"encoder_weights": "none"}


MISTAKES = {
    "steps": "--set steps has no value; write KEY=VALUE, e.g. steps=1500",
    "steps=many": "--set steps: many is not a TOML value; steps is a whole number",
    "steps=": "--set steps: nothing is not a TOML value; steps is a whole number",
    "steps=3\nrounds=4": "--set steps: 3\\nrounds=4 is not a TOML value; steps is a whole number",
    "steps=1.5": "--set steps: 1.5 is not a whole number",
    f"loss.dice={'9' * 400}": f"--set loss.dice: {'9' * 400} is not a number",
    f"steps={'[' * 600}": f"--set steps: {'[' * 600} is not a TOML value; steps is a whole number",
    "steps=true": "--set steps: true is not a whole number",
    'optimisation.learning_rate="x"': '--set optimisation.learning_rate: "x" is not a number',
    "augment=1": "--set augment: 1 is not true or false",
    "name=3": "--set name: 3 is not a text",
    "data=3": "--set data: 3 is not a text",
    "size=256": "--set size: 256 is not a list of 2 whole numbers",
    "size=[256]": "--set size: [256] is not a list of 2 whole numbers",
    "classes=[1]": "--set classes: [1] is not a list of texts",
    "augmentation.scale=[1]": "--set augmentation.scale: [1] is not a list of 2 numbers",
    'loss.class_weights=["a"]': '--set loss.class_weights: ["a"] is not a list of numbers',
    'optimisation.schedule="linear"': (
        '--set optimisation.schedule: "linear" is not one of cosine, exponential, constant'
    ),
    "optimisation.schedule=constant": (
        "--set optimisation.schedule: constant is not a TOML value; optimisation.schedule is one "
        "of cosine, exponential, constant; write --set 'optimisation.schedule=\"constant\"'"
    ),
    "learning_rate=1": "--set learning_rate: unknown setting; is it optimisation.learning_rate?",
    "optimisation.lerning_rate=1": (
        "--set optimisation.lerning_rate: unknown setting; is it optimisation.learning_rate?"
    ),
    "xyz=1": "--set xyz: unknown setting",
    "=1": "--set : unknown setting",
    "loss={dice=1}": (
        "--set loss: loss is a table; set one of loss.cross_entropy, loss.focal, loss.dice, "
        "loss.focal_gamma, loss.class_weights, loss.balanced"
    ),
}


@pytest.mark.parametrize("assignment", MISTAKES)
def test_a_mistake_is_a_line_with_the_key_and_its_type(assignment):
    with pytest.raises(ConfigError) as raised:
        nested({}, [assignment])
    assert str(raised.value) == MISTAKES[assignment]


def test_an_option_and_an_assignment_of_one_setting_are_refused():
    with pytest.raises(ConfigError, match=r"loss\.dice is given by an option and by --set"):
        nested({"loss__dice": 1.0}, ["loss.dice=1.0"])
    assert nested({"loss__dice": 1.0}, ["loss.focal=1"]) == {"loss": {"dice": 1.0, "focal": 1}}


@pytest.fixture
def refused(tmp_path):
    """Runs `train`, which must fail with one line and make no run; returns the line."""

    def run(*arguments):
        run = tmp_path / "run"
        result = CliRunner().invoke(main, ["train", "-o", str(run), *map(str, arguments)])
        assert result.exit_code == 1, result.output
        assert not run.exists()
        (line,) = (text for text in result.output.splitlines() if text.startswith("error: "))
        return line.removeprefix("error: ")

    return run


def test_the_command_takes_them(refused, sample_data, tmp_path):
    assert (
        refused(sample_data, "--set", "steps=0") == "the options: steps is 0; it must be at least 1"
    )
    assert refused("--set", f'data="{tmp_path / "none"}"') == (
        f"no such data folder: {tmp_path / 'none'}; check the path"
    )


def test_they_override_a_config(refused, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(TrainConfig(data=tmp_path / "none", encoder_weights="none").to_toml())
    assert refused("--config", path) == f"no such data folder: {tmp_path / 'none'}; check the path"
    line = refused("--config", path, "--set", f'data="{tmp_path / "other"}"')
    assert line == f"no such data folder: {tmp_path / 'other'}; check the path"
    line = refused("--config", path, "--set", "steps=0")
    assert line == f"{path}: steps is 0; it must be at least 1"


def test_a_set_network_without_an_encoder_loads_no_weights(refused, sample_data, monkeypatch):
    def train(config, *_, **__):
        raise ConfigError(f"{config.network.architecture} with {config.encoder_weights} weights")

    monkeypatch.setattr("unet_edge.training.run.train", train)
    mini = ("--set", 'network.architecture="unet_mini"')
    assert refused(sample_data) == "mobilenet_unet with imagenet weights"
    assert refused(sample_data, *mini) == "unet_mini with none weights"
    assert refused(sample_data, "--architecture", "unet_mini") == "unet_mini with none weights"
    given = ("--set", 'encoder_weights="imagenet"')
    assert refused(sample_data, *mini, *given) == "unet_mini with imagenet weights"
