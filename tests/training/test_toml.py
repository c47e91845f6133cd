"""Mistakes in a config.toml, and the errors that name them."""

import re

import pytest

from unet_edge.errors import ConfigError
from unet_edge.training.settings.train_config import TrainConfig

MISTAKES = {
    # The wrong kind of value.
    'steps = "3"': "steps: '3' is not a whole number",
    "steps = 1.5": "steps: 1.5 is not a whole number",
    "steps = true": "steps: True is not a whole number",
    "augment = 1": "augment: 1 is not true or false",
    "name = 3": "name: 3 is not a text",
    "train_list = 1": "train_list: 1 is not a text",
    "[optimisation]\nlearning_rate = true": "optimisation.learning_rate: True is not a number",
    '[optimisation]\nema = "x"': "optimisation.ema: 'x' is not a number",
    # Lists.
    "size = 256": "size: 256 is not a list",
    'size = "256"': "size: '256' is not a list",
    "size = [256]": "size: [256] is not a list of 2 values",
    "size = [256, 256, 3]": "size: [256, 256, 3] is not a list of 2 values",
    "size = [16.5, 16]": "size: 16.5 is not a whole number",
    'classes = "cat"': "classes: 'cat' is not a list",
    'classes = ["cat", 1]': "classes: 1 is not a text",
    "[augmentation]\nscale = 2": "augmentation.scale: 2 is not a list",
    '[loss]\nclass_weights = "balanced"': "loss.class_weights: 'balanced' is not a list",
    # Tables.
    'loss = "dice"': "loss: 'dice' is not a table of settings",
    "distillation = 1": "distillation: 1 is not a table of settings",
    "[distillation]\nweight = 0.5": "distillation.teacher: this setting is missing",
    # Names.
    "[networks]\nalpha = 1": "unknown setting networks, is it network?",
    "step = 9": "unknown setting step, is it steps?",
    "[optimisation]\nlr = 1": "optimisation: unknown setting lr",
    # Choices and ranges.
    'fit = "crop"': "fit: 'crop' is not one of letterbox, stretch",
    "fit = 1": "fit: 1 is not one of letterbox, stretch",
    '[network]\narchitecture = "resnet"': (
        "network.architecture: 'resnet' is not one of mobilenet_unet, unet_mini"
    ),
    "[network]\nalpha = 2": "network: mobilenet_v1 has no alpha 2.0; choose one of 0.25, 0.5",
    "crop = [100, 100]": "crop is 100x100; mobilenet_unet needs multiples of 16 px",
    "[augmentation]\nscale = [2, 1]": "augmentation: scale is 2.0..1.0; it must be 0 < low <= high",
    "[loss]\ndice = nan": "loss: dice is nan; it must be at least 0",
    # Several at once.
    'steps = "a"\n[optimisation]\nwarmup = "b"': (
        "steps: 'a' is not a whole number; optimisation.warmup: 'b' is not a number"
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line_with_its_file_and_setting(text):
    with pytest.raises(ConfigError) as raised:
        TrainConfig.from_toml(f'data = "cats"\n{text}\n', "my.toml")
    message = str(raised.value)
    assert message.startswith(f"my.toml: {MISTAKES[text]}")
    assert "\n" not in message
    # Nothing of Python's or cattrs' own words.
    assert not re.search(r"typing|object|structur|@|tuple", message)


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigError, match=r"my\.toml: data: this setting is missing"):
        TrainConfig.from_toml("steps = 3", "my.toml")


def test_invalid_toml_is_reported_with_its_line():
    with pytest.raises(ConfigError, match=r"my\.toml is not TOML: .*line 2"):
        TrainConfig.from_toml('data = "cats"\nsteps 3', "my.toml")


def test_thousands_of_brackets_are_invalid_toml():
    with pytest.raises(ConfigError, match=r"my\.toml is not TOML: .*recursion"):
        TrainConfig.from_toml(f'data = "cats"\nx = {"[" * 5000}', "my.toml")


def test_a_whole_number_is_accepted_for_a_fraction():
    config = TrainConfig.from_toml('data = "cats"\n[network]\nalpha = 1', "my.toml")
    assert type(config.network.alpha) is float
