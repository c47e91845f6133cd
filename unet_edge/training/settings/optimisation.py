"""Optimisation: how the weights are moved, and at which rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from unet_edge.errors import ConfigError

OptimizerKind = Literal["adamw", "adam", "sgd"]
ScheduleKind = Literal["cosine", "exponential", "constant"]
TrainingPrecision = Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"]


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
    precision: TrainingPrecision = "float32"

    def __post_init__(self) -> None:
        for name, kinds in (
            ("optimizer", OptimizerKind),
            ("schedule", ScheduleKind),
            ("precision", TrainingPrecision),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"unknown {name} {getattr(self, name)!r}",
                    fix=f"choose one of {', '.join(get_args(kinds))}",
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
