"""Pictures of discs and squares, and the network that `trained_data.py` trains on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 64
"""Height and width of a picture, px."""


def discs_and_squares(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Noisy pictures, uint8 (N, H, W, 3), of a red disc and a blue square; labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pictures = np.empty((count, SIZE, SIZE, 3), np.float32)
    labels = np.zeros((count, SIZE, SIZE), np.int32)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:] = rng.integers(40, 200, 3)
        for target, color in ((1, (230, 30, 30)), (2, (30, 30, 230))):
            y, x = rng.integers(10, SIZE - 10, 2)
            radius = rng.integers(7, 18)
            disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            square = (abs(rows - y) < radius) & (abs(columns - x) < radius)
            shape = disc if target == 1 else square
            picture[shape], label[shape] = color, target
        picture += rng.normal(0, 20, picture.shape)
    return pictures.clip(0, 255).astype(np.uint8), labels


def network() -> Any:
    """The default network at its smallest width, for three classes, untrained."""
    from unet_edge.spec import Normalisation
    from unet_edge.training.models import build
    from unet_edge.training.settings.network import Network

    return build(Network(alpha=0.25), 3, Normalisation())


def train_network() -> Any:
    """Train the network for 60 steps; then 95 % of the pixels are right."""
    import keras

    keras.utils.set_random_seed(0)
    model = network()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # 60 steps are too few for the default of 0.99
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    pictures, labels = discs_and_squares(64, seed=0)
    for step in range(60):
        batch = slice(step % 8 * 8, step % 8 * 8 + 8)
        model.train_on_batch(pictures[batch], labels[batch])
    return model
