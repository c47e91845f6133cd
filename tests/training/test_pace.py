"""Measuring a run's pace must not change the run."""

import keras
import numpy as np
import pytest

from unet_edge.demo.cells import CLASSES
from unet_edge.training.batches import training_batches
from unet_edge.training.checkpoint import model_state, optimizer_state
from unet_edge.training.losses import objective
from unet_edge.training.models import build
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.pace import measure_pace, short_try
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.optimisation import Optimisation
from unet_edge.training.settings.train_config import TrainConfig


def states(model):
    return [array.tobytes() for array in (*model_state(model), *optimizer_state(model.optimizer))]


def test_every_variable_is_put_back(sample_data):
    # unet_mini has dropout, whose random states move; averages are the optimiser's.
    config = TrainConfig(
        data=sample_data,
        classes=CLASSES,
        size=(32, 32),
        network=Network("unet_mini"),
        encoder_weights="none",
        batch_size=2,
        optimisation=Optimisation(ema=0.3),
    )
    spec, dataset = config.spec(), config.dataset()
    keras.utils.set_random_seed(0)
    model = build(config.network, len(CLASSES), spec.normalisation)
    model.compile(
        optimizer=build_optimizer(config.optimisation, 100, 0), loss=objective(config.loss, None)
    )
    model.optimizer.build(model.trainable_variables)
    before = states(model)
    batches = training_batches(config, dataset, spec, seed=0)
    first = [array.copy() for array in batches[0]]

    pace = measure_pace(model, config, dataset, spec, batches, probed=3, statistics=0.5)

    assert states(model) == before
    assert all(np.array_equal(a, b) for a, b in zip(batches[0], first, strict=True))
    assert 0 < pace.step < 60
    assert pace.close > 0.5


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, "--alpha 0.25 --size 128 --steps 300 --rounds 4"),
        ({"encoder_weights": "alpha-1.0.h5"}, "--size 128 --steps 300 --rounds 4"),
        (
            {"network": Network(encoder="mobilenet_v3_small"), "size": (512, 512)},
            "--alpha 0.75 --size 128 --steps 300 --rounds 4",
        ),
        (
            {"size": (512, 512), "crop": (256, 256), "rounds": 3, "network": Network(alpha=0.25)},
            "--size 128 --crop 128 --steps 300",
        ),
        ({"network": Network("unet_mini"), "size": (64, 64), "steps": 300, "rounds": 4}, ""),
    ],
)
def test_the_options_of_a_short_try_change_what_is_larger(changes, options):
    assert short_try(TrainConfig(data="data", **changes)) == options
