"""Weights alone, of a network of the tutorial: the legacy layout of Keras 2, or that of Keras 3."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras

from converters.foreign.file_kind import Kind
from converters.foreign.h5_weights import TOP_LEVEL, StoredWeight, assign_layer, read_layers
from converters.foreign.hdf5_file import numbers, open_hdf5, strings
from converters.foreign.refusal import Refusal
from converters.foreign.settings import Architecture
from converters.foreign.tutorial_networks import build_tutorial_network

_AUTOMATIC = re.compile(r"(conv2d|batch_normalization)(_\d+)?")
"""Names that Keras chose, which count the layers of the whole program that trained the model."""


def read_weights_file(
    path: Path,
    kind: Kind,
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
    with open_hdf5(path) as file:
        group = file.get("model_weights", file)
        if strings(group, "layer_names") is not None:
            stored = list(read_layers(group).items())
        elif isinstance(file.get("layers"), h5py.Group):
            stored = list(_keras_3_layers(model, file["layers"]))
        else:
            raise Refusal("is not a file of weights that Keras wrote")
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
    model: keras.Model, group: h5py.Group
) -> Iterator[tuple[str, list[StoredWeight]]]:
    """The layers of the layout of Keras 3, which counts the layers of each class.

    They come in the order of `model`, and those that it does not have behind.
    """
    found = {
        name: [numbers(values[key]) for key in sorted(values, key=int)]
        for name in group
        if isinstance(values := group[name].get("vars"), h5py.Group) and len(values)
    }
    classes: Counter[str] = Counter()
    for layer in model.layers:
        if not layer.weights:
            continue
        kind = type(layer).__name__
        snake = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d"}.get(
            kind, "batch_normalization"
        )
        key = f"{snake}_{classes[snake]}" if classes[snake] else snake
        classes[snake] += 1
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
