"""The last layers of a network, which score each class, and the same layers for other classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from unet_edge.errors import ConfigError
from unet_edge.training.graph import inputs_of

# Their kernels end in the number of channels that enter, after those that leave.
_TRANSPOSED = (layers.Conv2DTranspose, layers.DepthwiseConv2D)


@dataclass(frozen=True)
class ClassChange:
    """How the classes of a run follow from those of the run that it starts from.

    `sources` has, for each class of the run, the index of the class with the same name in the
    other run, or None for a class that starts anew.
    """

    sources: tuple[int | None, ...]
    kept: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]

    @classmethod
    def between(cls, old: Sequence[str], new: Sequence[str]) -> ClassChange:
        """Compare the class names of a run with those of the run that starts from it."""
        return cls(
            sources=tuple(old.index(name) if name in old else None for name in new),
            kept=tuple(name for name in new if name in old),
            new=tuple(name for name in new if name not in old),
            left_out=tuple(name for name in old if name not in new),
        )

    @property
    def is_none(self) -> bool:
        """Whether classes and order are the same."""
        return not self.left_out and self.sources == tuple(range(len(self.sources)))


def score_layers(model: keras.Model) -> dict[str, layers.Layer]:
    """Find the layers from the convolutions that score classes to the output, by name.

    Each has a channel for each class, and only the first ones mix channels. Raises ConfigError for
    a network whose last layers mix the scores of classes.
    """
    classes = model.output_shape[-1]
    found: dict[str, layers.Layer] = {}
    open_tensors = list(model.outputs)
    while open_tensors:
        layer = open_tensors.pop()._keras_history.operation
        if layer.name in found:
            continue
        if _scores_classes(layer, classes):
            found[layer.name] = layer
        elif _keeps_classes(layer, classes):
            found[layer.name] = layer
            open_tensors += inputs_of(layer)
        else:
            raise ConfigError(
                f"the scores of the network come from its layer {layer.name}",
                expected="only convolutions that score each class can get other classes",
                fix="train with the classes of the run that --weights names",
            )
    return found


def _scores_classes(layer: layers.Layer, classes: int) -> bool:
    """Whether a layer makes the scores of classes from features."""
    kinds = (layers.Conv2D, layers.Conv2DTranspose)
    if not isinstance(layer, kinds) or layer.filters != classes or _is_called_often(layer):
        return False
    # A single feature, as of a network with one sigmoid, has no room for another class.
    return getattr(layer, "groups", 1) == 1 and layer.input.shape[-1] > 1


def _keeps_classes(layer: layers.Layer, classes: int) -> bool:
    """Whether a layer has the same channels before and after, and does not mix them."""
    if isinstance(layer, layers.InputLayer) or _is_called_often(layer):
        return False
    mixes = (layers.Concatenate, layers.Softmax, layers.Conv2D, layers.Conv2DTranspose)
    known = not layer.weights or isinstance(
        layer, (layers.BatchNormalization, layers.DepthwiseConv2D)
    )
    tensors = (*inputs_of(layer), layer.output)
    return known and not isinstance(layer, mixes) and all(t.shape[-1] == classes for t in tensors)


def _is_called_often(layer: layers.Layer) -> bool:
    return len(layer._inbound_nodes) != 1


def for_classes(layer: layers.Layer, config: dict[str, Any], classes: int) -> dict[str, Any]:
    """Return the `config` of a layer of `score_layers` for another number of classes."""
    changes: dict[str, Any] = {}
    if "filters" in config:
        changes["filters"] = classes
    if isinstance(layer, layers.Reshape):
        changes["target_shape"] = (*config["target_shape"][:-1], classes)
    return config | changes


def class_weights(layer: layers.Layer, change: ClassChange) -> list[NDArray[Any]]:
    """Return the weights of a layer of `score_layers`, for the classes of `change`.

    A new class gets the mean of all old ones: its score lies between theirs, so the classes that
    are kept are found as before the first step.
    """
    return [_changed(np.asarray(array), layer, change) for array in layer.get_weights()]


def centred(layer: layers.Layer) -> list[NDArray[Any]]:
    """Return the new random weights of a layer of `score_layers`, centred for each class.

    Trained features are large and behind a ReLU positive, so a class with the larger sum of random
    weights would win every pixel, which takes tens of steps to unlearn. Equal weights, such as
    zeros, are worse: the first steps move all of them towards the most frequent class.
    """
    weights = [np.asarray(array) for array in layer.get_weights()]
    if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose)):
        entering = (0, 1, 3) if isinstance(layer, layers.Conv2DTranspose) else (0, 1, 2)
        weights[0] = weights[0] - weights[0].mean(entering, keepdims=True)
    return weights


def _changed(array: NDArray[Any], layer: layers.Layer, change: ClassChange) -> NDArray[Any]:
    axis = -2 if array.ndim == 4 and isinstance(layer, _TRANSPOSED) else -1
    mean = array.mean(axis=axis)
    rows = [mean if each is None else array.take(each, axis) for each in change.sources]
    return np.stack(rows, axis=axis)
