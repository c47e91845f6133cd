"""Mixed precision, chosen by timing training steps of the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from unet_edge.training.losses import objective
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.settings.optimisation import TrainingPrecision
from unet_edge.training.settings.train_config import TrainConfig

_TIMED_STEPS = 5
# bfloat16 is chosen only for this speed-up, because it loses three digits of each activation.
_LEAST_SPEED_UP = 1.15


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Set Keras' dtype policy for the layers built in this context, then restore the old one."""
    old = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(old)


def choose_precision(
    config: TrainConfig, build: Callable[[], keras.Model], say: Callable[[str], None]
) -> TrainingPrecision:
    """Choose the dtype policy of a run; "auto" compares float32 and mixed_bfloat16 in time.

    `build` builds the network in the current policy.
    """
    precision = config.optimisation.precision
    if precision != "auto":
        return precision
    float32, bfloat16 = (
        _step_seconds(config, build, policy) for policy in ("float32", "mixed_bfloat16")
    )
    faster = float32 > _LEAST_SPEED_UP * bfloat16
    chosen: TrainingPrecision = "mixed_bfloat16" if faster else "float32"
    say(
        f"precision: {chosen} (a step takes {float32 * 1e3:.0f} ms in float32, "
        f"{bfloat16 * 1e3:.0f} ms in mixed_bfloat16)"
    )
    return chosen


def _step_seconds(config: TrainConfig, build: Callable[[], keras.Model], policy: str) -> float:
    """The time of the fastest of a few training steps, after two that compile."""
    with dtype_policy(policy):
        model = build()
    model.compile(
        optimizer=build_optimizer(config.optimisation, config.total_steps),
        loss=objective(config.loss),
    )
    shape = (config.batch_size, *config.crop_size)
    pixels, labels = np.full((*shape, 3), 99, np.uint8), np.zeros(shape, np.uint8)
    seconds = []
    for _ in range(2 + _TIMED_STEPS):
        start = time.perf_counter()
        model.train_on_batch(pixels, labels)
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])
