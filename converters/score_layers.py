"""The layers at a model's end: the one that computes the scores, and those that pass them on."""

from __future__ import annotations

import keras

SCORING = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
"""The layers whose scores of two classes are centred and narrowed."""

PASSING = (keras.layers.UpSampling2D, keras.layers.Resizing, keras.layers.Cropping2D)
"""The layers that may follow them: what they write lies between the scores that they read."""


def score_layers(model: keras.Model) -> list[keras.Layer]:
    """The layer that computes the scores, and those after it, which resize or crop them."""
    layer = model.output._keras_history.operation
    found = [layer]
    while isinstance(layer, PASSING):
        layer = layer.input._keras_history.operation
        found.append(layer)
    return found[::-1]
