"""The training objective: cross-entropy, focal and dice losses, weighted by class, and their sum.

All take logits and skip IGNORE. All are means over the batch's pixels or classes, so that the
learning rate means the same at every crop size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras import ops

from unet_edge.errors import ConfigError
from unet_edge.spec import IGNORE

Objective = Callable[[Any, Any], Any]
"""Labels, integers (N, H, W), and logits (N, H, W, C) to a scalar."""


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


def objective(loss: Loss, weights: Sequence[float] | None = None) -> Objective:
    """The sum of the terms of `loss`; `weights` are one a class, or None for equal ones."""

    def total(labels: Any, logits: Any) -> Any:
        log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        valid = ops.not_equal(labels, IGNORE)
        classes = log_p.shape[-1]
        # A class outside 0..classes-1 has an all-zero row: ignored pixels add nothing.
        truth = ops.one_hot(ops.cast(ops.where(valid, labels, classes), "int32"), classes)
        result = ops.zeros(())
        if loss.cross_entropy or loss.focal:
            log_true = ops.sum(truth * log_p, axis=-1)
            share = ops.cast(valid, "float32")
            if weights is not None:
                share = ops.sum(truth * ops.convert_to_tensor(list(weights), "float32"), axis=-1)
            count = ops.maximum(ops.sum(share), 1e-6)
            result += loss.cross_entropy * ops.sum(-log_true * share) / count
            if loss.focal:
                # Above 0: at 0 the power of a gamma below 1 has no slope, and ignored pixels,
                # whose log_true is 0, would hand on nan.
                hard = ops.maximum(1.0 - ops.exp(log_true), 1e-7) ** loss.focal_gamma
                result += loss.focal * ops.sum(-log_true * share * hard) / count
        if loss.dice:
            result += loss.dice * _dice_loss(truth, ops.exp(log_p), valid)
        return result

    return total


def _dice_loss(truth: Any, p: Any, valid: Any) -> Any:
    p = p * ops.cast(valid, "float32")[..., None]
    axes = (0, 1, 2)
    shared = ops.sum(truth * p, axis=axes)
    # One pixel of smoothing: a class in neither mask scores 1, not 0 / 0.
    coefficient = (2 * shared + 1) / (ops.sum(truth, axis=axes) + ops.sum(p, axis=axes) + 1)
    return 1 - ops.mean(coefficient)
