"""The convolutions that int8 files leave in float32."""

from __future__ import annotations

import itertools

import keras

from converters.layers import convolutions, readers
from converters.score_layers import SCORING, score_layers
from unet_edge.model_files.embedded_contract import Format

_PAIR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)

_PAIRS_WITH_MANY_CLASSES = 4
"""Pairs of a full and a depthwise convolution at the start that stay in float with many classes."""


def float_layers_of(model: keras.Model, file_format: Format = "tflite") -> tuple[str, ...]:
    """Names of the convolutions that int8 files leave in float32, by format and classes.

    .onnx: the `stem` and the last convolution. .tflite with two classes: the stem. With more
    classes: the first eight convolutions, as far as full and depthwise ones alternate, and the
    last. The last one counts only if it computes the scores. See
    docs/decisions/032-float-layers.md.
    """
    if file_format == "tflite" and model.output.shape[-1] == 2:
        return stem(model)
    last = [layer.name for layer in score_layers(model)[:1] if isinstance(layer, SCORING)]
    if file_format == "tflite":
        first = _first_pairs(model, _PAIRS_WITH_MANY_CLASSES)
    else:
        first = stem(model) if _stays_between(model, stem(model)) else ()
    return tuple(dict.fromkeys((*first, *last)))


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
        zip(convolutions(model)[: 2 * most], itertools.cycle(_PAIR), strict=False),
    )
    names = [layer.name for layer, _ in alternating]
    return tuple(names[: len(names) // 2 * 2])


def _stays_between(model: keras.Model, pair: tuple[str, ...]) -> bool:
    """Whether only the second convolution of `pair` reads the first, behind BatchNorm and ReLU.

    If an int8 layer reads it too, its output is quantised, and the second convolution has a
    quantised input and output. ONNX Runtime then quantises its kernel when it loads the file, with
    one scale for all channels.
    """
    readers_of = readers(model)
    following = [model.get_layer(name) for name in pair[:1]]
    while len(following) == 1 and following[0].name != pair[1]:
        following = readers_of(following[0])
    return len(following) == 1
