"""An estimate of how long a run takes, from a few steps on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import keras

from unet_edge.dataset import Dataset
from unet_edge.spec import ModelSpec
from unet_edge.training.batches import WORKERS, TrainingBatches, place_sample
from unet_edge.training.checkpoint import (
    model_state,
    optimizer_state,
    restore_model,
    restore_optimizer,
)
from unet_edge.training.run_log import Pace
from unet_edge.training.settings.network import ALPHAS
from unet_edge.training.settings.train_config import TrainConfig

_TIMED_STEPS = 3  # after the first one, which compiles
# A training step costs about as much as three forward passes.
_FORWARD_PASSES = 3
_FEW_CORES = 4  # up to this many cores, threads that draw batches slow the network down
_SHORT_EDGE, _SHORT_STEPS, _SHORT_ROUNDS = 128, 300, 4  # of a first try: minutes on two cores
_FILES_SECONDS = 1.5  # to write a round's files: two models, a checkpoint, curves


def measure_pace(
    model: keras.Model,
    config: TrainConfig,
    dataset: Dataset,
    spec: ModelSpec,
    batches: TrainingBatches,
    *,
    probed: int,
    statistics: float,
) -> Pace:
    """Train on one batch a few times, restore the model, and estimate the pace of a run.

    Each round scores `probed` pictures in addition to the validation pictures, and spends
    `statistics` seconds on BatchNorm statistics. The compiled model and its optimiser are restored.
    """
    model.optimizer.build(model.trainable_variables)
    state, optimizer = model_state(model), optimizer_state(model.optimizer)
    pixels, labels = batches[0]  # decodes the pictures, which stay in memory
    drawing = _timed(lambda: batches[0])
    compiling = _timed(lambda: model.train_on_batch(pixels, labels))
    training = min(
        _timed(lambda: model.train_on_batch(pixels, labels)) for _ in range(_TIMED_STEPS)
    )
    restore_model(model, state)
    restore_optimizer(model.optimizer, optimizer)

    cores = os.cpu_count() or 1
    step = max(training, drawing / WORKERS)
    if cores <= _FEW_CORES:
        step = training + drawing / cores
    placing = _timed(lambda: place_sample(dataset, dataset.validation[0], spec))
    pictures = len(dataset.validation) + probed
    batch_pixels = config.batch_size * config.crop_size[0] * config.crop_size[1]
    forward_batch = training / _FORWARD_PASSES
    forward = forward_batch * config.size[0] * config.size[1] / batch_pixels  # s, one picture
    close = statistics + pictures * (forward + placing) + _FILES_SECONDS
    # The validation compiles only a forward pass.
    return Pace(step, close, start=compiling / _FORWARD_PASSES)


def short_try(config: TrainConfig) -> str:
    """Return the options that make a run of these settings short; empty if it is already."""
    network, options = config.network, []
    smallest = ALPHAS[network.encoder][0]
    # A weights file fits one alpha, and so does a run to start from.
    any_alpha = config.encoder_weights in ("imagenet", "none") and config.weights is None
    if network.architecture == "mobilenet_unet" and network.alpha > smallest and any_alpha:
        options.append(f"--alpha {smallest}")
    if max(config.size) > _SHORT_EDGE:
        options.append(f"--size {_SHORT_EDGE}")
    if max(config.crop_size) > _SHORT_EDGE and config.crop:
        options.append(f"--crop {_SHORT_EDGE}")
    if config.steps > _SHORT_STEPS:
        options.append(f"--steps {_SHORT_STEPS}")
    if config.rounds > _SHORT_ROUNDS:
        options.append(f"--rounds {_SHORT_ROUNDS}")
    return " ".join(options)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
