"""The layers of a Keras model: its convolutions, which layer reads which, and their outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
)
"""The classes of layers with a kernel: full, depthwise and transposed convolutions."""

Run = Callable[[keras.Layer, list[Any]], Any]
"""Computes a layer's output from its inputs."""


def convolutions(model: keras.Model) -> list[keras.Layer]:
    """The convolutions of `model`, first to last."""
    return [layer for layer in model.layers if isinstance(layer, CONVOLUTIONS)]


def kernel_axes(conv: keras.Layer) -> tuple[int, ...]:
    """The axes of a convolution's kernel over which the weights of one output channel lie.

    Kernels are (height, width, in, out), depthwise ones (height, width, channels, multiplier), and
    transposed ones (height, width, out, in).
    """
    match conv:
        case keras.layers.DepthwiseConv2D():
            return (0, 1)
        case keras.layers.Conv2DTranspose():
            return (0, 1, 3)
        case _:
            return (0, 1, 2)


def kernel_rows(conv: keras.Layer) -> NDArray[np.float32]:
    """The kernel as (out, in, height, width), the order of ONNX; depthwise ones have in = 1."""
    kernel = np.asarray(conv.kernel, np.float32)
    match conv:
        case keras.layers.DepthwiseConv2D():
            return kernel.reshape(*kernel.shape[:2], 1, -1).transpose(3, 2, 0, 1)
        case keras.layers.Conv2DTranspose():
            return kernel.transpose(2, 3, 0, 1)
        case _:
            return kernel.transpose(3, 2, 0, 1)


def from_rows(conv: keras.Layer, rows: NDArray[Any]) -> NDArray[Any]:
    """The kernel of `conv` of which `rows` are the `kernel_rows`."""
    match conv:
        case keras.layers.DepthwiseConv2D():
            return rows.transpose(2, 3, 1, 0).reshape(conv.kernel.shape)
        case keras.layers.Conv2DTranspose():
            return rows.transpose(2, 3, 0, 1)
        case _:
            return rows.transpose(2, 3, 1, 0)


def convolve(conv: Any, inputs: Any, kernel: Any) -> Any:
    """The output of a convolution with another kernel in place of its own."""
    options = (conv.strides, conv.padding)
    match conv:
        case keras.layers.DepthwiseConv2D():
            output = keras.ops.depthwise_conv(
                inputs, kernel, *options, dilation_rate=conv.dilation_rate
            )
        case keras.layers.Conv2DTranspose():
            output = keras.ops.conv_transpose(
                inputs, kernel, *options, conv.output_padding, dilation_rate=conv.dilation_rate
            )
        case _:
            output = keras.ops.conv(inputs, kernel, *options, dilation_rate=conv.dilation_rate)
    return output if conv.bias is None else output + conv.bias


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
