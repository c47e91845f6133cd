"""Dtype policies: chosen by timing, and given back."""

from pathlib import Path

import keras
import pytest

from unet_edge.spec import Normalisation
from unet_edge.training.models import build
from unet_edge.training.precision import choose_precision, dtype_policy
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.optimisation import Optimisation
from unet_edge.training.settings.train_config import TrainConfig


def config(precision):
    return TrainConfig(
        data=Path("data"),
        size=(16, 16),
        batch_size=1,
        network=Network("unet_mini"),
        optimisation=Optimisation(precision=precision),
    )


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_layers_are_built_under_a_policy_that_is_given_back(name):
    before = keras.config.dtype_policy()
    with dtype_policy(name):
        model = build(Network("unet_mini"), 2, Normalisation())
    assert keras.config.dtype_policy() is before
    assert model.get_layer("conv1a").compute_dtype == name.removeprefix("mixed_")
    assert model.get_layer("conv1a").variable_dtype == "float32"
    assert model.dtype_policy.name == name


def test_a_policy_is_given_back_after_an_error():
    before = keras.config.dtype_policy()
    with pytest.raises(OSError, match="no such"), dtype_policy("mixed_bfloat16"):
        raise OSError("no such")
    assert keras.config.dtype_policy() is before


@pytest.mark.parametrize("asked", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_precision_that_was_asked_for_is_not_questioned(asked):
    lines = []

    def build():
        raise AssertionError("a network was built and timed")

    assert choose_precision(config(asked), build, lines.append) == asked
    assert lines == []
