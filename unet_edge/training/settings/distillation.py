"""Distillation: a trained run as the teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Distillation:
    """The teacher's run folder, its share of the loss, and the temperature of the softmax."""

    teacher: Path
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(
                f"the distillation weight is {self.weight}",
                expected="it must be above 0 and at most 1",
            )
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"the distillation temperature is {self.temperature}",
                expected="it must be above 0 and finite",
            )
