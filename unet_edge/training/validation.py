"""The loss and confusion of a model in training."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from unet_edge.dataset import Dataset, Sample
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.system.progress import progress
from unet_edge.training.batch_norm import momentum_kept
from unet_edge.training.batches import Batch, grid_batches
from unet_edge.training.losses import Objective


def validate(
    model: keras.Model,
    dataset: Dataset,
    samples: Sequence[Sample],
    spec: ModelSpec,
    batch_size: int,
    objective: Objective,
) -> tuple[float, Confusion]:
    """Compute mean loss and confusion over samples on the grid, without padding.

    The loss is the mean of `objective` over batches, weighted by their valid pixels.
    """
    confusion = Confusion.empty(dataset.classes)
    losses, weights = [], []
    for pixels, labels in grid_batches(dataset, samples, spec, batch_size):
        logits = model.predict_on_batch(pixels)
        losses.append(float(objective(labels, logits)))
        weights.append(int((labels != IGNORE).sum()))
        for scores, truth in zip(logits, labels, strict=True):
            confusion += Confusion.of(truth, to_labels(scores), dataset.classes)
    return float(np.average(losses, weights=weights)), confusion


def score_at_own_size(
    model: keras.Model, dataset: Dataset, samples: Sequence[Sample], spec: ModelSpec
) -> Confusion:
    """Compute the confusion over samples at the pictures' own size, as `unet-edge evaluate`."""
    segmenter = Segmenter(spec, KerasBackend(model), spec.name)
    confusion = Confusion.empty(dataset.classes)
    for sample in progress(samples, "scoring at the pictures' own size"):
        photo, truth = dataset.read_for(sample, spec)
        confusion += Confusion.of(truth, segmenter.segment(photo).labels, dataset.classes)
    return confusion


def compare_modes(
    model: keras.Model, batches: list[Batch], objective: Objective
) -> tuple[float, float]:
    """Compute the mean loss over batches with batch statistics and with moving statistics."""
    with momentum_kept(model) as layers:
        for layer in layers:
            layer.momentum = 1.0  # training mode then keeps the moving statistics
        training = [float(objective(y, model(x, training=True))) for x, y in batches]
    # The model is called directly. A compiled predict that has seen crops and whole grids would be
    # traced for any size, but Keras' bilinear upsampling needs a fixed size.
    inference = [float(objective(y, model(x, training=False))) for x, y in batches]
    return float(np.mean(training)), float(np.mean(inference))
