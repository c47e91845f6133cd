"""Loss: the objective of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Loss:
    """The weight of each term of the objective; 0 switches a term off.

    `cross_entropy`: nats per pixel. `focal`: cross-entropy times (1 - p)^gamma (Lin et al. 2017,
    arXiv:1708.02002), which emphasises hard pixels. `dice`: one minus the mean over classes of the
    batch's soft Dice coefficient (Milletari et al. 2016, arXiv:1606.04797), which emphasises small
    classes and is closest to IoU. `class_weights`, one for each class or none, weigh the
    cross-entropy and focal terms. `balanced` computes them from the training masks.
    """

    cross_entropy: float = 1.0
    focal: float = 0.0
    dice: float = 0.0
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] = ()
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("cross_entropy", "focal", "dice", "focal_gamma"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name} is {value}", expected="it must be at least 0 and finite")
        if not self.cross_entropy + self.focal + self.dice > 0:
            raise ConfigError(
                "cross_entropy, focal and dice are 0", expected="at least one must be above 0"
            )
        if self.class_weights and self.balanced:
            raise ConfigError(
                "class weights are both given and balanced", fix="give the weights, or balance them"
            )
        if any(not 0 < weight < math.inf for weight in self.class_weights):
            raise ConfigError(
                f"the class weights are {self.class_weights}",
                expected="all must be above 0 and finite",
            )
