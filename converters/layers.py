"""The layers of a Keras model: its convolutions, which layer reads which, and their outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
"""The classes of layers with a kernel: full and depthwise convolutions."""

Run = Callable[[keras.Layer, list[Any]], Any]
"""Computes a layer's output from its inputs."""


def convolutions(model: keras.Model) -> list[keras.Layer]:
    """The convolutions of `model`, first to last."""
    return [layer for layer in model.layers if isinstance(layer, CONVOLUTIONS)]


def readers(model: keras.Model) -> Callable[[keras.Layer], list[keras.Layer]]:
    """A function from a layer of `model` to the layers that read its output."""
    by_tensor: dict[int, list[keras.Layer]] = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            for tensor in _as_list(layer.input):
                by_tensor.setdefault(id(tensor), []).append(layer)
    return lambda layer: by_tensor.get(id(layer.output), [])


def call(layer: keras.Layer, inputs: list[Any]) -> Any:
    """Call a layer on its inputs, in inference."""
    return layer(inputs if len(inputs) > 1 else inputs[0], training=False)


def outputs(model: keras.Model, pixels: Any, run: Run = call) -> Iterator[tuple[keras.Layer, Any]]:
    """Each layer with its output on `pixels`, (N, H, W, 3), first to last.

    `run` computes a layer. An output is kept until its last reader has run; a reader sees changes
    that are made to it in place.
    """
    inputs = {layer: _as_list(layer.input) for layer in model.layers}
    unread = Counter(id(tensor) for tensors in inputs.values() for tensor in tensors)
    values: dict[int, Any] = {id(model.inputs[0]): pixels}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        output = run(layer, [values[id(tensor)] for tensor in inputs[layer]])
        values[id(layer.output)] = output
        yield layer, output
        for tensor in inputs[layer]:
            unread[id(tensor)] -= 1
            if not unread[id(tensor)]:
                del values[id(tensor)]


def _as_list(tensors: Any) -> list[Any]:
    """A layer's `input`, which Keras gives without a list if it is a single tensor."""
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]
