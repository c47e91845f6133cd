"""Optimisation: the optimiser, its learning rate and its precision."""

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
    """How the weights are updated.

    `sgd` is SGD with Nesterov momentum 0.9. The learning rate rises linearly during `warmup` (a
    share of the run). Then it stays constant, or decays along a cosine or exponentially to
    `final_rate` (a share of `learning_rate`). `ema` is the memory of the averaged weights, which
    are validated and saved, as a share of the run; 0 switches averaging off. `freeze` is the share
    of the run in which the encoder keeps the weights and statistics that were loaded.
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
            raise ConfigError(
                f"the learning rate is {self.learning_rate}",
                expected="it must be above 0 and finite",
            )
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(
                f"the weight decay is {self.weight_decay}",
                expected="it must be at least 0 and finite",
            )
        if not 0 < self.final_rate <= 1:
            raise ConfigError(
                f"final_rate is {self.final_rate}", expected="it must be above 0 and at most 1"
            )
        for name in ("warmup", "ema", "freeze"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ConfigError(
                    f"{name} is {value}", expected="a share must be at least 0 and below 1"
                )
