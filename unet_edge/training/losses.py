"""The training objective: a weighted sum of cross-entropy, focal and dice losses.

Each term takes logits and skips IGNORE. Each is a mean over the batch's pixels or classes, so a
learning rate suits every crop size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from unet_edge.spec import IGNORE
from unet_edge.training.settings.loss import Loss

Objective = Callable[[Any, Any], Any]
"""A function of labels, integers (N, H, W), and logits (N, H, W, C) that returns a scalar."""


def objective(loss: Loss, weights: Sequence[float] | None = None) -> Objective:
    """Return the sum of the terms of `loss`; `weights` has a number for each class, or is None."""

    def total(labels: Any, logits: Any) -> Any:
        log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        valid = ops.not_equal(labels, IGNORE)
        classes = log_p.shape[-1]
        # Ignored pixels get the class `classes`, whose one-hot row is all zero: they add nothing.
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
                # The base must stay above 0. At 0, the power with a gamma below 1 has an infinite
                # slope, and ignored pixels, whose log_true is 0, would make gradients nan.
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
