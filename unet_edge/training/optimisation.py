"""Keras optimisers and learning-rate schedules, made from settings."""

from __future__ import annotations

import math
from typing import Any, assert_never

import keras
from keras import ops

from unet_edge.training.settings.optimisation import Optimisation


def build_optimizer(
    settings: Optimisation, steps: int, start: int = 0
) -> keras.optimizers.Optimizer:
    """Build the optimiser for a run of `steps` batches, after the first `start` of them."""
    rate = Schedule(settings, steps, start)
    options: dict[str, Any] = {}
    if settings.ema:
        options = {"use_ema": True, "ema_momentum": 1 - 1 / max(1.0, settings.ema * steps)}
    match settings.optimizer:
        case "adamw":
            optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, **options)
        case "adam":
            optimizer = keras.optimizers.Adam(rate, **options)
        case "sgd":
            optimizer = keras.optimizers.SGD(
                rate,
                momentum=0.9,
                nesterov=True,
                weight_decay=settings.weight_decay or None,
                **options,
            )
        case _:
            assert_never(settings.optimizer)
    # Only kernels decay, not scales and offsets (He et al. 2019, arXiv:1812.01187, 3.1).
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each step of a run: a linear warm-up, then the decay of the settings.

    `start` is the step of the run at which the optimiser, which counts from 0, was made.
    """

    def __init__(self, settings: Optimisation, steps: int, start: int = 0) -> None:
        self.settings, self.steps, self.start = settings, steps, start

    def __call__(self, step: Any) -> Any:
        """Return the rate at `step`, a scalar tensor or a number."""
        settings = self.settings
        warmup = max(1, round(settings.warmup * self.steps))
        step = ops.cast(step, "float32") + self.start
        done = ops.clip((step - warmup) / max(1, self.steps - warmup), 0.0, 1.0)
        final = settings.final_rate
        match settings.schedule:
            case "cosine":
                decay = final + (1 - final) * 0.5 * (1 + ops.cos(math.pi * done))
            case "exponential":
                decay = ops.power(final, done)
            case "constant":
                decay = ops.ones_like(done)
            case _:
                assert_never(settings.schedule)
        # step + 1: the first step has a rate above 0.
        return settings.learning_rate * ops.minimum((step + 1) / warmup, decay)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as Keras requires of schedules."""
        return {"settings": self.settings, "steps": self.steps, "start": self.start}
