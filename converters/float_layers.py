"""The convolutions that int8 files leave in float32."""

from __future__ import annotations

import itertools

import keras

from converters.layers import CONVOLUTIONS, convolutions, readers
from converters.score_layers import SCORING, score_layers
from unet_edge.model_files.embedded_contract import Format

_PAIR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)

_SCALE_INPUT = "scale_input"
"""The name of the convolution that scales an imported model's pixels."""

_PAIRS_WITH_MANY_CLASSES = 4
"""Pairs of a full and a depthwise convolution at the start that stay in float with many classes."""


def float_layers_of(model: keras.Model, file_format: Format = "tflite") -> tuple[str, ...]:
    """Names of the convolutions that int8 files leave in float32, by format and classes.

    .onnx: the `stem` and the last convolution. .tflite with two classes: the stem. With more
    classes: the first eight convolutions, as far as full and depthwise ones alternate, and the
    last. The last one counts only if it computes the scores. A convolution that scales an imported
    model's pixels stays in float, too; in .onnx only together with the one after it. See
    docs/decisions/032-float-layers.md.
    """
    if file_format == "tflite" and model.output.shape[-1] == 2:
        return stem(model)
    last = [layer.name for layer in score_layers(model)[:1] if isinstance(layer, SCORING)]
    if file_format == "tflite":
        first = _first_pairs(model, _PAIRS_WITH_MANY_CLASSES)
    else:
        first = stem(model)
        if first == _scaling(model):
            first = tuple(layer.name for layer in convolutions(model)[:2]) if first else ()
        if not _stays_between(model, first):
            first = ()
    return tuple(dict.fromkeys((*first, *last)))


def stem(model: keras.Model) -> tuple[str, ...]:
    """Names of the first convolution and the depthwise one after it, if one follows.

    Their rounding error reaches all later layers, and by the widest skip the last ones. They have
    few channels, so they cost little in float. A convolution that scales an imported model's
    pixels comes before them, or alone: the 256 steps of its output lie between those of its input,
    so that int8 would round every pixel once more.
    """
    return _first_pairs(model, 1)


def _first_pairs(model: keras.Model, most: int) -> tuple[str, ...]:
    """Names of up to `most` pairs of a full and a depthwise convolution at the model's start.

    Before them comes the convolution that scales an imported model's pixels, if there is one.
    """
    scaling = _scaling(model)
    alternating = itertools.takewhile(
        lambda pair: isinstance(pair[0], pair[1]),
        zip(convolutions(model)[len(scaling) :][: 2 * most], itertools.cycle(_PAIR), strict=False),
    )
    names = [layer.name for layer, _ in alternating]
    return (*scaling, *names[: len(names) // 2 * 2])


def _scaling(model: keras.Model) -> tuple[str, ...]:
    """The name of the convolution that scales an imported model's pixels, if it has one."""
    return tuple(layer.name for layer in convolutions(model)[:1] if layer.name == _SCALE_INPUT)


def _stays_between(model: keras.Model, names: tuple[str, ...]) -> bool:
    """Whether no other convolution reads what these write, except that of the last one.

    If an int8 convolution reads it too, it is quantised, and the next convolution in float has a
    quantised input and output. ONNX Runtime then quantises its kernel when it loads the file, with
    one scale for all channels.
    """
    readers_of = readers(model)

    def reading(layer: keras.Layer) -> set[str]:
        """The convolutions that read `layer`, behind layers of one input."""
        found: set[str] = set()
        for reader in readers_of(layer):
            if isinstance(reader, CONVOLUTIONS):
                found.add(reader.name)
            elif not isinstance(reader.input, list):
                found |= reading(reader)
        return found

    return all(
        reading(model.get_layer(name)) == {following}
        for name, following in itertools.pairwise(names)
    )
