"""The weights of each layer as Keras 1 and 2 keep them in HDF5, and Keras 3 in whole-model files.

A group for each layer of the model, with the names of its weights in an attribute. A nested model
is one layer with the weights of all its own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from converters.foreign.hdf5_content import Hdf5Content
from converters.foreign.layer_rules import clean_name
from converters.foreign.refusal import Refusal

TOP_LEVEL = "top_level_model_weights"
MODEL_WEIGHTS = "/model_weights"
"""The group of the weights in a file of a complete model."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight of a file: the layer and the variable that its name says, and its values."""

    owner: str
    variable: str
    values: NDArray[np.float32]


Stored = dict[str, list[StoredWeight]]


def read_layers(content: Hdf5Content, group: str) -> Stored:
    """The weights of each layer that has some, in the file's order. Raises Refusal."""
    names = content.names(group, "layer_names")
    if names is None:
        raise Refusal("is damaged: it does not name its layers")
    stored: Stored = {}
    for name in names:
        path = f"{group.rstrip('/')}/{name}"
        weights = content.names(path, "weight_names") or []
        if path not in content.attributes:
            raise Refusal(f"is damaged: its layer {name!r} is missing")
        if clean_name(name) in stored:
            raise Refusal(f"is damaged: two layers have the name {name!r}")
        if weights:
            stored[clean_name(name)] = renamed([_weight(content, path, each) for each in weights])
    return stored


def renamed(weights: list[StoredWeight]) -> list[StoredWeight]:
    """Keras 3 calls the kernel of a DepthwiseConv2D `kernel`, Keras 2 `depthwise_kernel`."""
    separable = {weight.owner for weight in weights if weight.variable == "pointwise_kernel"}
    return [
        replace(weight, variable="kernel")
        if weight.variable == "depthwise_kernel" and weight.owner not in separable
        else weight
        for weight in weights
    ]


def _weight(content: Hdf5Content, layer: str, name: str) -> StoredWeight:
    *path, variable = name.partition(":")[0].split("/")
    values = content.arrays.get(f"{layer}/{name}")
    if values is None:
        raise Refusal(f"is damaged: the weight {name!r} of {layer!r} is missing")
    return StoredWeight(path[-1] if path else "", variable, values)


def assign(model: keras.Model, stored: Stored) -> None:
    """Give each layer the weights of its name. Raises Refusal for any that is missing or extra."""
    layers = {layer.name: layer for layer in model.layers}
    for name, layer in layers.items():
        if layer.weights and name not in stored:
            raise Refusal(f"is damaged: it has no weights for layer {name!r}")
    for name, weights in stored.items():
        if name not in layers:
            raise Refusal(f"is damaged: its layer {name!r} has weights and is not in the model")
        assign_layer(layers[name], weights)


def assign_layer(layer: keras.layers.Layer, stored: list[StoredWeight]) -> None:
    """Give a layer or nested model its weights. Raises Refusal."""
    targets = _variables(layer)
    if len(targets) != len(stored):
        raise Refusal(
            f"is damaged: layer {layer.name!r} has {len(stored)} weights in the file, and "
            f"{len(targets)} in the model"
        )
    # The order of a file depends on which layers were frozen. So weights are found by name: by the
    # layer's and the variable's, else by the variable's alone, in order.
    by_name = defaultdict(list)
    nested = isinstance(layer, keras.Model)
    owners = {owner for owner, _ in targets}
    named = nested and {weight.owner for weight in stored} == owners
    for weight in stored:
        by_name[weight.owner if named else "", weight.variable].append(weight)
    for owner, variable in targets:
        candidates = by_name[owner if named else "", variable.name]
        if not candidates:
            raise Refusal(
                f"is damaged: layer {layer.name!r} has no weight {variable.name!r} of "
                f"{owner!r}, only {', '.join(sorted(w.variable for w in stored))}"
            )
        weight = candidates.pop(0)
        if weight.values.shape != tuple(variable.shape):
            raise Refusal(
                f"is damaged: {variable.name} of layer {owner!r} has the shape "
                f"{weight.values.shape} in the file, and {tuple(variable.shape)} in the model"
            )
        variable.assign(weight.values)
    _finalise(layer)


def _finalise(layer: keras.layers.Layer) -> None:
    """Make a Normalization take over its weights, which it otherwise does as it adapts."""
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            _finalise(inner)
    elif isinstance(layer, keras.layers.Normalization) and layer.weights:
        layer.finalize_state()


def _variables(layer: keras.layers.Layer) -> list[tuple[str, keras.Variable]]:
    """The variables of a layer, or of all layers of a nested model, with their layer's name."""
    if isinstance(layer, keras.Model):
        return [pair for inner in layer.layers for pair in _variables(inner)]
    return [(layer.name, variable) for variable in layer.weights]
