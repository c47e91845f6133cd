"""Training on generated discs, so that a foreign network's masks have shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from foreign_models.zoo import ForeignNetwork


def discs(count: int, size: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Noisy pictures (N, size, size, 3) of one bright disc, and their labels (N, size, size)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    pictures = np.empty((count, size, size, 3), np.float32)
    labels = np.zeros((count, size, size), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:] = rng.integers(30, 110, 3)
        y, x = rng.uniform(0.3 * size, 0.7 * size, 2)
        radius = rng.uniform(0.15, 0.35) * size
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        picture[disc], label[disc] = rng.integers(150, 256, 3), 1
        picture += rng.normal(0, 15, picture.shape)
    return pictures.clip(0, 255).astype(np.uint8), labels


_FEW = 100  # steps that take less time than tracing the graph


def trained(
    entry: ForeignNetwork, *, width: float, size: int, steps: int | None = None, rate: float = 5e-3
) -> keras.Model:
    """The network, trained in float32 and then set to its own precision.

    `steps` is the entry's own few without a number; `rate` is Adam's.

    A processor without float16 arithmetic takes minutes for the steps of a float16 model, and a
    mixed policy keeps its variables in float32 anyway.
    """
    keras.utils.set_random_seed(0)
    model = replace(entry, policy="float32").model(width, size)
    train(entry, model, size=size, steps=steps or entry.steps, rate=rate)
    if entry.policy == "float32":
        return model
    mixed = entry.model(width, size)
    mixed.set_weights(model.get_weights())
    return mixed


def train(
    entry: ForeignNetwork,
    model: keras.Model,
    *,
    size: int,
    steps: int,
    rate: float = 5e-3,
    batch: int = 4,
) -> None:
    """Train `model` in place, with the loss that its output asks for."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # the few steps must reach the statistics
    few = steps < _FEW
    model.compile(keras.optimizers.Adam(rate), _loss(entry), run_eagerly=few)
    batches = 8 if few else 40
    pictures, labels = discs(batches * batch, size, seed=0)
    inputs, truth = entry.scale(pictures), labels[:, :: entry.stride, :: entry.stride]
    if len(model.output_shape) == 3:
        truth = truth.reshape(len(truth), -1)
    for step in range(steps):
        part = slice(step % batches * batch, step % batches * batch + batch)
        model.train_on_batch(inputs[part], truth[part].astype(np.int32)[..., None])


def _loss(entry: ForeignNetwork) -> Any:
    if entry.output == "sigmoid":
        return keras.losses.BinaryCrossentropy()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=entry.output == "logits")
