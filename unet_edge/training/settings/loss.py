"""Loss: what a training minimises."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Loss:
    """How much of each term makes the objective; 0 leaves a term out.

    `cross_entropy`: nats per pixel. `focal`: cross-entropy times (1 - p)^gamma (Lin et al. 2017,
    arXiv:1708.02002), which looks at hard pixels. `dice`: one minus the mean over classes of the
    soft Dice coefficient over the batch (Milletari et al. 2016, arXiv:1606.04797), which looks at
    small classes and is closest to IoU. `class_weights` weigh cross-entropy and focal terms: one
    number a class; empty for none; `balanced` computes them from the training masks.
    """

    cross_entropy: float = 1.0
    focal: float = 0.0
    dice: float = 0.0
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] = ()
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("cross_entropy", "focal", "dice", "focal_gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} {getattr(self, name)} must be 0 or above, and finite")
        if not self.cross_entropy + self.focal + self.dice > 0:
            raise ConfigError("a loss needs at least one of cross_entropy, focal and dice above 0")
        if self.class_weights and self.balanced:
            raise ConfigError("class weights are either given or balanced, not both")
        if any(not 0 < weight < math.inf for weight in self.class_weights):
            raise ConfigError(f"class weights {self.class_weights} must all be above 0, and finite")
