"""Mixed precision, where it helps: chosen by timing training steps of the very model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from unet_edge.spec import Normalisation
from unet_edge.training.losses import objective
from unet_edge.training.models import build
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.settings.optimisation import TrainingPrecision
from unet_edge.training.settings.train_config import TrainConfig

_TIMED_STEPS = 5
# bfloat16 costs three digits of each activation: it must be worth it.
_WORTH = 1.15


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers under a dtype policy, and give Keras its own back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def choose_precision(
    config: TrainConfig, normalisation: Normalisation, say: Callable[[str], None]
) -> TrainingPrecision:
    """The dtype policy of a run; "auto" times float32 against mixed_bfloat16 on this machine."""
    asked = config.optimisation.precision
    if asked != "auto":
        return asked
    slow, fast = (
        _step_seconds(config, normalisation, policy) for policy in ("float32", "mixed_bfloat16")
    )
    chosen: TrainingPrecision = "mixed_bfloat16" if slow > _WORTH * fast else "float32"
    say(
        f"precision: {chosen} (a step takes {slow * 1e3:.0f} ms in float32, "
        f"{fast * 1e3:.0f} ms in mixed_bfloat16)"
    )
    return chosen


def _step_seconds(config: TrainConfig, normalisation: Normalisation, policy: str) -> float:
    """The fastest of a few training steps after the first two, which compile."""
    with dtype_policy(policy):
        model = build(config.network, len(config.classes), normalisation)
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
