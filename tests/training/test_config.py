"""Every setting through TOML and back, and the arithmetic of a run's length."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from unet_edge.errors import ConfigError
from unet_edge.spec import ModelSpec
from unet_edge.training.config import read_config
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.distillation import Distillation
from unet_edge.training.settings.loss import Loss
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.optimisation import Optimisation
from unet_edge.training.settings.train_config import TrainConfig

DATA = Path("/data/cats")

# Every setting different from its default, nested ones too (a test makes sure). Two pairs exclude
# each other: a crop and no augmentation, given class weights and balanced ones.
CROPPED = TrainConfig(
    data=DATA,
    classes=("sky", "überall", "cat 'quoted'"),
    size=(64, 96),
    crop=(32, 48),
    masks="binary<=127",
    ignore=7,
    train_list=Path("/lists/train.txt"),
    validation_list=Path("/lists/val.txt"),
    test_list=Path("/lists/test.txt"),
    mask_names="NAME_mask",
    crowds="take",
    split_by="pictures",
    name="cats",
    fit="stretch",
    resample="box",
    decoding="full",
    bit_depth=12,
    encoder_weights="/weights/encoder.h5",
    steps=77,
    rounds=6,
    patience=2,
    batch_size=3,
    tensorboard=True,
    seed=5,
    network=Network("unet_mini", decoder="dense", alpha=0.5, encoder="mobilenet_v2"),
    loss=Loss(0.25, 0.5, 2.0, 1.5, class_weights=(1.0, 2.0, 0.1)),
    optimisation=Optimisation(
        "sgd", 0.02, 0.003, "exponential", 0.1, 0.2, ema=0.05, freeze=0.3, precision="auto"
    ),
    augmentation=Augmentation(
        False, True, (0.9, 1.1), 0.2, 15.0, 3.0, 0.01, 0.02, 0.03, 0.04, 1.5, 0.06
    ),
    distillation=Distillation(Path("/runs/teacher"), 0.75, 3.0),
)
WHOLE = TrainConfig(
    data=DATA,
    augment=False,
    loss=Loss(balanced=True),
    weights=Path("/runs/cats"),
    weights_sha256="ab" * 32,
    encoder_weights="none",
)


def leaves(config, prefix=""):
    """Every setting by its place in the TOML."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def test_the_examples_change_every_setting():
    default = TrainConfig(data=Path("/elsewhere"), distillation=Distillation(Path("/other")))
    plain = dict(leaves(default))
    changed = {
        place
        for config in (CROPPED, WHOLE)
        for place, value in leaves(config)
        if value != plain.get(place)
    }
    assert plain.keys() == changed


@pytest.mark.parametrize("config", [CROPPED, WHOLE, TrainConfig(data=DATA)])
def test_toml_and_back_is_the_same_run(config):
    text = config.to_toml()
    assert TrainConfig.from_toml(text, "config.toml") == config
    assert TrainConfig.from_toml(text, "config.toml").to_toml() == text


def test_unset_settings_are_not_in_the_toml():
    data = tomllib.loads(TrainConfig(data=DATA).to_toml())
    absent = {"crop", "ignore", "train_list", "validation_list", "distillation"}
    assert not data.keys() & absent
    assert data["data"] == "/data/cats"
    assert data["network"]["architecture"] == "mobilenet_unet"


def test_a_missing_setting_has_its_default():
    config = TrainConfig.from_toml('data = "/data/cats"\n[loss]\ndice = 1\n', "mine.toml")
    assert config == TrainConfig(data=DATA, loss=Loss(dice=1.0))


# --- changes on top ---------------------------------------------------------------------------


def test_changes_replace_settings_and_keep_their_neighbours():
    changes = {"steps": 9, "loss": {"dice": 3.0}, "optimisation": {"ema": 0.0}}
    found = TrainConfig.from_toml(CROPPED.to_toml(), "config.toml", changes)
    expected = dataclasses.replace(
        CROPPED,
        steps=9,
        loss=dataclasses.replace(CROPPED.loss, dice=3.0),
        optimisation=dataclasses.replace(CROPPED.optimisation, ema=0.0),
    )
    assert found == expected


def test_changes_may_add_a_table():
    changes = {"distillation": {"teacher": "/runs/teacher"}}
    found = TrainConfig.from_toml(WHOLE.to_toml(), "config.toml", changes)
    assert found.distillation == Distillation(Path("/runs/teacher"))


def test_changes_replace_an_invalid_setting():
    text = CROPPED.to_toml().replace("steps = 77", "steps = 0")
    with pytest.raises(ConfigError, match="steps is 0; it must be at least 1"):
        TrainConfig.from_toml(text, "config.toml")
    assert TrainConfig.from_toml(text, "config.toml", {"steps": 77}) == CROPPED


# --- a run's folder ---------------------------------------------------------------------------


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.toml; .* with 'unet-edge train'"):
        read_config(tmp_path)


def test_a_config_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match=r"config\.toml is not UTF-8 text"):
        read_config(tmp_path)


# --- length -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "rounds", "per_round", "total_rounds", "total"),
    [
        (1500, 15, 100, 15, 1500),
        (10, 3, 4, 3, 12),  # rounded up to whole rounds
        (10, 4, 3, 4, 12),
        (9, 6, 2, 5, 10),  # six rounds of two steps would be longer than was asked
        (3, 5, 1, 3, 3),
        (1, 1, 1, 1, 1),
    ],
)
def test_a_run_has_complete_rounds_and_at_least_the_steps_of_its_settings(
    steps, rounds, per_round, total_rounds, total
):
    config = TrainConfig(data=DATA, steps=steps, rounds=rounds)
    assert config.steps_per_round == per_round
    assert config.total_rounds == total_rounds
    assert config.total_steps == total


@pytest.mark.parametrize(
    ("freeze", "rounds"),
    # The share of ten rounds, at least one of them.
    [(0, 0), (0.01, 1), (0.1, 1), (0.34, 3), (0.36, 4), (0.99, 10)],
)
def test_the_encoder_is_frozen_for_complete_rounds(freeze, rounds):
    config = TrainConfig(data=DATA, steps=100, rounds=10, optimisation=Optimisation(freeze=freeze))
    assert config.frozen_rounds == rounds


def test_the_crop_is_the_size_unless_it_is_given():
    assert TrainConfig(data=DATA, size=(64, 96)).crop_size == (64, 96)
    assert CROPPED.crop_size == (32, 48)


def test_the_contract_is_of_the_size_not_of_the_crop():
    assert CROPPED.spec() == ModelSpec(
        64,
        96,
        ("sky", "überall", "cat 'quoted'"),
        name="cats",
        fit="stretch",
        resample="box",
        bit_depth=CROPPED.bit_depth,
    )


# --- what contradicts itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"rounds": 0}, "rounds is 0; it must be at least 1"),
        ({"batch_size": -2}, "batch size is -2; it must be at least 1"),
        ({"patience": -1}, "patience is -1; it must be at least 0"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"ignore": 256}, "ignore is 256; it must be a mask value, 0 to 255"),
        ({"size": (100, 96)}, "size is 100x96; mobilenet_unet needs multiples of 16 px"),
        ({"size": (0, 16)}, "size is 0x16; mobilenet_unet needs multiples of 16 px"),
        ({"crop": (96, 40)}, "crop is 96x40; mobilenet_unet needs multiples of 16 px"),
        ({"size": (66, 64), "network": Network("unet_mini")}, "unet_mini needs multiples of 4 px"),
        ({"crop": (32, 32), "augment": False}, "omit one of --crop and --no-augment"),
        ({"loss": Loss(class_weights=(1, 2, 3))}, "3 class weights for 2 classes"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(data=DATA, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": 0}, "the distillation weight is 0; it must be above 0 and at most 1"),
        ({"weight": 1.5}, "the distillation weight is 1.5; it must be above 0 and at most 1"),
        ({"temperature": 0}, "the distillation temperature is 0; it must be above 0"),
        (
            {"temperature": float("inf")},
            "the distillation temperature is inf; it must be above 0 and finite",
        ),
    ],
)
def test_invalid_distillation_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Distillation(Path("teacher"), **settings)
