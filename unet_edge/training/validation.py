"""Loss and confusion of a model in training: what is validated, and how."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from unet_edge.dataset import Dataset, Sample
from unet_edge.metrics import Confusion
from unet_edge.runtime.backends import to_labels
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.batch_norm import momentum_kept
from unet_edge.training.batches import Batch, grid_batches


def masked_cross_entropy() -> keras.losses.Loss:
    """Mean cross-entropy of logits, nats per pixel, over the pixels that are not IGNORE."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE)


def validate(
    model: keras.Model,
    dataset: Dataset,
    samples: Sequence[Sample],
    spec: ModelSpec,
    batch_size: int,
) -> tuple[float, Confusion]:
    """Mean loss (nats per pixel) and confusion over samples on the grid, padding ignored."""
    confusion = Confusion.empty(dataset.classes)
    losses, weights = [], []
    cross_entropy = masked_cross_entropy()
    for pixels, labels in grid_batches(dataset, samples, spec, batch_size):
        logits = model.predict_on_batch(pixels)
        losses.append(float(cross_entropy(labels, logits)))
        weights.append(int((labels != IGNORE).sum()))
        for scores, truth in zip(logits, labels, strict=True):
            confusion += Confusion.of(truth, to_labels(scores), dataset.classes)
    return float(np.average(losses, weights=weights)), confusion


def compare_modes(model: keras.Model, batches: list[Batch]) -> tuple[float, float]:
    """Mean loss over the same batches with batch statistics and with moving statistics."""
    cross_entropy = masked_cross_entropy()
    with momentum_kept(model) as layers:
        for layer in layers:
            layer.momentum = 1.0  # training mode then leaves the moving statistics alone
        training = [float(cross_entropy(y, model(x, training=True))) for x, y in batches]
    # Called directly: a compiled predict, having seen crops and whole grids, would be traced for
    # any size, and Keras' bilinear upsampling needs to know the size.
    inference = [float(cross_entropy(y, model(x, training=False))) for x, y in batches]
    return float(np.mean(training)), float(np.mean(inference))
