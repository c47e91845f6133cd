"""How long a run will take, from a few steps on this machine."""

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
from unet_edge.training.settings.train_config import TrainConfig

_STEPS = 3  # timed ones, behind the one that compiles
# Forward and backward passes cost about three forward ones.
_PASSES = 3
_FEW_CORES = 4  # threads that draw batches take time from the network's on so many cores
_FILES = 1.5  # s to write a round's files: two models, a checkpoint, curves


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
    """Train on one batch a few times, put everything back, and tell what a run costs.

    Each round looks at `probed` pictures besides the validation ones, and spends `statistics`
    seconds on BatchNorm's. The compiled model comes out as it went in.
    """
    model.optimizer.build(model.trainable_variables)
    state, optimizer = model_state(model), optimizer_state(model.optimizer)
    pixels, labels = batches[0]  # decodes the pictures, which are then kept
    drawing = _timed(lambda: batches[0])
    compiling = _timed(lambda: model.train_on_batch(pixels, labels))
    training = min(_timed(lambda: model.train_on_batch(pixels, labels)) for _ in range(_STEPS))
    restore_model(model, state)
    restore_optimizer(model.optimizer, optimizer)

    cores = os.cpu_count() or 1
    step = max(training, drawing / WORKERS)
    if cores <= _FEW_CORES:
        step = training + drawing / cores
    placing = _timed(lambda: place_sample(dataset, dataset.validation[0], spec))
    pictures = len(dataset.validation) + probed
    crops = config.batch_size * config.crop_size[0] * config.crop_size[1]
    forward = training / _PASSES * config.size[0] * config.size[1] / crops  # s a whole picture
    close = statistics + pictures * (forward + placing) + _FILES
    # What validates compiles a forward pass alone.
    return Pace(step, close, start=compiling / _PASSES)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
