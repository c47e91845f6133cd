"""The convolutions that int8 files leave in float32."""

from __future__ import annotations

import itertools

import keras

from converters.layers import CONVOLUTIONS, convolutions
from unet_edge.model_files.embedded_contract import Format

_PAIRS_WITH_MANY_CLASSES = 4
"""Pairs of a full and a depthwise convolution at the start that stay in float with many classes."""


def float_layers_of(model: keras.Model, file_format: Format = "tflite") -> tuple[str, ...]:
    """Names of the convolutions that int8 files leave in float32, by format and classes.

    .onnx: the `stem` and the last convolution. .tflite with two classes: the stem. With more
    classes: the first eight convolutions, as far as full and depthwise ones alternate, and the
    last. See docs/decisions/032-float-layers.md.
    """
    if file_format == "tflite" and model.output.shape[-1] == 2:
        return stem(model)
    last = convolutions(model)[-1].name
    first = stem(model) if file_format == "onnx" else _first_pairs(model, _PAIRS_WITH_MANY_CLASSES)
    return tuple(dict.fromkeys((*first, last)))


def stem(model: keras.Model) -> tuple[str, ...]:
    """Names of the first convolution and the depthwise one after it; () if none follows.

    Their rounding error reaches all later layers, and by the widest skip the last ones. They have
    few channels, so they cost little in float.
    """
    return _first_pairs(model, 1)


def _first_pairs(model: keras.Model, most: int) -> tuple[str, ...]:
    """Names of up to `most` pairs of a full and a depthwise convolution at the model's start."""
    alternating = itertools.takewhile(
        lambda pair: isinstance(pair[0], pair[1]),
        zip(convolutions(model)[: 2 * most], itertools.cycle(CONVOLUTIONS), strict=False),
    )
    names = [layer.name for layer, _ in alternating]
    return tuple(names[: len(names) // 2 * 2])
