"""Weights alone, of a network of the tutorial: the legacy layout of Keras 2, or that of Keras 3."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from converters.foreign.file_kind import FileKind
from converters.foreign.h5_weights import (
    MODEL_WEIGHTS,
    TOP_LEVEL,
    StoredWeight,
    assign_layer,
    read_layers,
)
from converters.foreign.hdf5_content import Hdf5Content, read_hdf5
from converters.foreign.refusal import Refusal
from converters.foreign.settings import Architecture
from converters.foreign.tutorial_networks import build_tutorial_network

_AUTOMATIC = re.compile(r"(conv2d|batch_normalization)(_\d+)?")
"""Names that Keras chose, which count the layers of the whole program that trained the model."""


# The classes of the tutorial's layers, as Keras 3 writes them in a file.
_CLASSES = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "BatchNormalization": "batch_normalization",
}


def read_weights_file(
    path: Path,
    kind: FileKind,
    architecture: Architecture,
    classes: int | None,
    size: tuple[int, int] | None,
) -> keras.Model:
    """Build the network and load its weights; every layer must match. Raises Refusal.

    A complete model in HDF5 is taken, too: only its weights are read.
    """
    if kind != "h5":
        raise Refusal(
            f"is not a file of weights alone, which --architecture {architecture} is for",
            "leave --architecture out: the file says its network itself",
        )
    if classes is None:
        raise Refusal("holds weights alone", "say with --classes how many classes it separates")
    model = build_tutorial_network(architecture, classes, size)
    content = read_hdf5(path)
    for group in ("/", MODEL_WEIGHTS):
        if content.names(group, "layer_names") is not None:
            stored = list(read_layers(content, group).items())
            break
    else:
        stored = list(_keras_3_layers(model, content))
    _assign_in_order(model, stored, architecture)
    return model


def _assign_in_order(
    model: keras.Model, stored: list[tuple[str, list[StoredWeight]]], architecture: Architecture
) -> None:
    """Give the layers their weights by position, for Keras names the decoder's layers itself."""
    stored = [(name, weights) for name, weights in stored if name != TOP_LEVEL]
    layers = [layer for layer in model.layers if layer.weights]
    for index, layer in enumerate(layers):
        shown = _shown(layer)
        if index == len(stored):
            raise Refusal(f"is not of {architecture}: it ends before {shown}", _OTHER)
        name, weights = stored[index]
        given = {weight.variable: weight.values.shape for weight in weights}
        wanted = {weight.name: tuple(weight.shape) for weight in layer.weights}
        if given != wanted or not (_AUTOMATIC.fullmatch(layer.name) or name == layer.name):
            raise Refusal(
                f"is not of {architecture}: its layer {name!r} has {_listed(given)} where the "
                f"network has {shown} with {_listed(wanted)}",
                _OTHER,
            )
        assign_layer(layer, weights)
    if len(stored) > len(layers):
        raise Refusal(
            f"is not of {architecture}: its layer {stored[len(layers)][0]!r} is not in the network",
            _OTHER,
        )


_OTHER = (
    "give the --architecture and --classes it was trained with; for another network save the "
    "model with model.save('model.keras')"
)


def _shown(layer: keras.layers.Layer) -> str:
    if _AUTOMATIC.fullmatch(layer.name):
        return f"a {type(layer).__name__}"
    return repr(layer.name)


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))


def _keras_3_layers(
    model: keras.Model, content: Hdf5Content
) -> Iterator[tuple[str, list[StoredWeight]]]:
    """The layers of the layout of Keras 3, which counts the layers of each class.

    They come in the order of `model`, and those that it does not have behind. Raises Refusal.
    """
    found: dict[str, list[NDArray[np.float32]]] = {}
    for path in sorted(content.arrays):  # a layer has fewer than ten weights
        match path.split("/"):
            case ["", "layers", name, "vars", _]:
                found.setdefault(name, []).append(content.arrays[path])
    if not found:
        raise Refusal("is not a file of weights that Keras wrote")
    counts: Counter[str] = Counter()
    for layer in model.layers:
        if not layer.weights:
            continue
        kind = _CLASSES[type(layer).__name__]
        key = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if key in found:
            names = [weight.name for weight in layer.weights]
            values = found.pop(key)
            names += [f"weight {index}" for index in range(len(names), len(values))]
            yield (
                key if _AUTOMATIC.fullmatch(layer.name) else layer.name,
                [StoredWeight(layer.name, *pair) for pair in zip(names, values, strict=False)],
            )
    for name, values in found.items():
        yield name, [StoredWeight(name, str(index), value) for index, value in enumerate(values)]
