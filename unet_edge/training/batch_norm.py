"""Re-estimation of BatchNorm's moving statistics, which exports fold into the convolutions.

A short run leaves them stale, so they are estimated again before every validation and save
("precise BN", Wu and Johnson 2021, arXiv:2105.07576, section 3). Some data sets need statistics of
augmented crops, others of plain ones; the loss on training pictures decides. The figures are in
docs/decisions/029-batch-norm.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray


def batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return every BatchNormalization layer that is not frozen, in order.

    A frozen layer uses its moving statistics in training mode too.
    """
    kind = keras.layers.BatchNormalization
    return [layer for layer in model.layers if isinstance(layer, kind) and layer.trainable]


def set_momentum(model: keras.Model, steps: int) -> None:
    """Set a momentum whose memory, 1 / (1 - momentum) steps, is a tenth of the run.

    It is at most Keras' default of 0.99, and at least 0.5.
    """
    for layer in batch_norm_layers(model):
        layer.momentum = min(0.99, max(0.5, 1 - 10 / max(steps, 1)))


@contextmanager
def momentum_kept(model: keras.Model) -> Iterator[list[keras.layers.BatchNormalization]]:
    """Yield the BatchNorm layers, and restore the momentum of each at the end."""
    layers = batch_norm_layers(model)
    momenta = [layer.momentum for layer in layers]
    try:
        yield layers
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def reestimate(model: keras.Model, batches: Iterable[NDArray[np.uint8]]) -> int:
    """Replace the moving statistics by their mean over `batches` of pixels (N, H, W, 3).

    Runs the model in training mode and does not change its weights. Returns the number of batches;
    without any, the statistics remain.
    """
    used = 0
    with momentum_kept(model) as layers:
        for pixels in batches:
            # With momentum k/(k+1) at batch k, the moving average is the mean of all batches.
            for layer in layers:
                layer.momentum = used / (used + 1)
            model(pixels, training=True)
            used += 1
    return used


def choose_statistics(
    model: keras.Model,
    candidates: Mapping[str, Iterable[NDArray[np.uint8]]],
    loss: Callable[[], float],
) -> str:
    """Re-estimate over each candidate's batches and keep the statistics with the lowest loss.

    `loss` evaluates the model in inference mode. Returns the name of the best candidate.
    """
    layers = batch_norm_layers(model)
    least_loss, best = float("inf"), ""
    best_weights = [layer.get_weights() for layer in layers]
    for name, batches in candidates.items():
        reestimate(model, batches)
        value = loss()
        if not best or value < least_loss:  # `not best`: the first counts even if its loss is nan
            least_loss, best = value, name
            best_weights = [layer.get_weights() for layer in layers]
    for layer, weights in zip(layers, best_weights, strict=True):
        layer.set_weights(weights)
    return best
