"""Optimisers and learning-rate schedules, from settings to Keras'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import keras
from keras import ops

from unet_edge.errors import ConfigError

OptimizerKind = Literal["adamw", "adam", "sgd"]
ScheduleKind = Literal["cosine", "exponential", "constant"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"]


@dataclass(frozen=True)
class Optimisation:
    """How the weights are moved.

    `sgd` is SGD with Nesterov momentum 0.9. The rate rises linearly over the first `warmup` (a
    share of the run), then decays to `final_rate` (a share of `learning_rate`) along a cosine or
    exponentially, or stays. `ema` is the memory of averaged weights as a share of the run: they
    are what is validated and saved; 0 switches averaging off. `freeze` is the share of the run
    for which the encoder's weights and statistics stay as they were loaded.
    """

    optimizer: OptimizerKind = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: ScheduleKind = "cosine"
    warmup: float = 0.05
    final_rate: float = 0.01
    ema: float = 0.0
    freeze: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, kinds in (
            ("optimizer", OptimizerKind),
            ("schedule", ScheduleKind),
            ("precision", Precision),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"unknown {name} {getattr(self, name)!r}; choose one of "
                    f"{', '.join(get_args(kinds))}"
                )
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning rate {self.learning_rate} must be above 0, and finite")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight decay {self.weight_decay} must be 0 or above, and finite")
        if not 0 < self.final_rate <= 1:
            raise ConfigError(f"final_rate {self.final_rate} must be above 0, at most 1")
        for name in ("warmup", "ema", "freeze"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} is a share: 0 or above, below 1")


def build_optimizer(
    settings: Optimisation, steps: int, start: int = 0
) -> keras.optimizers.Optimizer:
    """The optimiser of a run of `steps` batches, the first `start` of which are done."""
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
    # Scales and offsets have nothing to decay towards (He et al. 2019, arXiv:1812.01187, 3.1).
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each step of a run of `steps`, counted from `start` on.

    A warm-up from the first step's share to the peak, then the decay that the settings name.
    `start` is for an optimiser made in mid-run, which counts from 0.
    """

    def __init__(self, settings: Optimisation, steps: int, start: int = 0) -> None:
        self.settings, self.steps, self.start = settings, steps, start

    def __call__(self, step: Any) -> Any:
        """The rate for `step`, a scalar tensor or number."""
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
        # The first step is no step of zero length.
        return settings.learning_rate * ops.minimum((step + 1) / warmup, decay)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras asks of schedules."""
        return {"settings": self.settings, "steps": self.steps, "start": self.start}
