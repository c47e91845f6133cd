"""Which convolutions int8 files leave in float32."""

from __future__ import annotations

import itertools

import keras

from unet_edge.model_files.embedded_contract import Format

_KINDS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)

_MANY_PAIRS = 4
"""Convolutions of each kind at the beginning that stay in float with many classes."""


def float_layers_of(model: keras.Model, file_format: Format = "tflite") -> tuple[str, ...]:
    """The convolutions that int8 files leave in float32, by format and number of classes.

    .onnx: the `stem` and the last, whose scores then have no steps to tie on; neither takes longer
    there. .tflite of two classes: the stem. Of more: all before the fourth pointwise convolution,
    and the last. See docs/decisions/032-float-layers.md.
    """
    two = model.output.shape[-1] == 2
    if file_format == "tflite" and two:
        return stem(model)
    *_, last = (layer.name for layer in model.layers if isinstance(layer, _KINDS))
    first = stem(model) if file_format == "onnx" else _first_pairs(model, _MANY_PAIRS)
    return tuple(dict.fromkeys((*first, last)))


def stem(model: keras.Model) -> tuple[str, ...]:
    """The first convolution and the depthwise one behind it; nothing where none follows.

    They see the pixels at half resolution with few channels. Their rounding passes through all
    that follows and, by the widest skip, to the end, while their arithmetic is small.
    """
    return _first_pairs(model, 1)


def _first_pairs(model: keras.Model, most: int) -> tuple[str, ...]:
    """The first convolutions, as far as full and depthwise ones alternate, `most` of each."""
    convolutions = [layer for layer in model.layers if isinstance(layer, _KINDS)][: 2 * most]
    alternating = itertools.takewhile(
        lambda pair: isinstance(pair[0], pair[1]),
        zip(convolutions, itertools.cycle(_KINDS), strict=False),
    )
    names = [layer.name for layer, _ in alternating]
    return tuple(names[: len(names) // 2 * 2])
