"""Distillation: a trained run to learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Distillation:
    """A trained run to learn from: its folder, its share of the loss, the softmax's temperature."""

    teacher: Path
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(f"distillation weight {self.weight} must be above 0, at most 1")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"distillation temperature {self.temperature} must be above 0 and finite"
            )
