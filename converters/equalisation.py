"""Equal ranges for the channels that depthwise convolutions read.

An int8 tensor has one step for all its channels, and with ReLU6 that step is 6/255: a channel that
reaches 1.5 has two bits less than one that reaches 6. Below 6, ReLU6 lets a factor pass. So such
a channel is enlarged where it is made, by its BatchNorm, and reduced again by the kernels that
read it (Nagel et al. 2019, arXiv:1906.04721, section 4.1). Each channel of a depthwise kernel has
an int8 scale of its own, and so has each output of a convolution: no weight is rounded otherwise.
Where a full convolution reads the tensor in int8, weights would be, and nothing is changed. What
that gained stands in CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_list, readers

_TOP = 6.0
"""Where ReLU6 ends."""

_MARGIN = 1.25
"""How far beyond what was measured a channel may reach before it is cut."""

_MOST = 16.0
"""The largest factor: a channel that hardly ever fires has not been measured."""

_PASSING = (layers.UpSampling2D, layers.ZeroPadding2D, layers.Dropout)
"""Layers that let a factor of a channel pass. So does Concatenate."""


def equalise(
    model: keras.Model,
    outputs: Iterable[tuple[keras.Layer, NDArray[np.float32]]],
    float_layers: Collection[str],
) -> None:
    """Enlarge small channels of `model`, in place, as far as ReLU6 allows.

    `outputs`: each layer with its output on calibration pictures, (N, H, W, C). `float_layers`:
    convolutions that the file will not round.
    """
    readers_of = readers(model)
    found: list[tuple[keras.Layer, NDArray[np.float64], list[tuple[keras.Layer, int]]]] = []
    for layer, output in outputs:
        if not isinstance(layer, layers.BatchNormalization):
            continue
        layer = model.get_layer(layer.name)
        behind = readers_of(layer)
        if len(behind) != 1 or not _is_relu6(behind[0]):
            continue
        kernels = _kernels_behind(behind[0], readers_of, 0)
        if kernels is None or not all(
            isinstance(kernel, layers.DepthwiseConv2D) or kernel.name in float_layers
            for kernel, _ in kernels
        ):
            continue
        largest = np.asarray(output.max((0, 1, 2)), np.float64)
        fitting = _TOP / (_MARGIN * np.maximum(largest, _TOP / _MARGIN / _MOST))
        found.append((layer, np.maximum(fitting, 1), kernels))
    for layer, factor, kernels in found:
        layer.gamma.assign(layer.gamma * factor)
        layer.beta.assign(layer.beta * factor)
        for kernel, start in kernels:
            values = np.array(keras.ops.convert_to_numpy(kernel.kernel))
            values[:, :, start : start + len(factor)] /= factor[:, None]
            kernel.kernel.assign(values)


def _is_relu6(layer: keras.Layer) -> bool:
    if isinstance(layer, layers.ReLU):
        return bool(layer.max_value == _TOP and not layer.negative_slope and not layer.threshold)
    return isinstance(layer, layers.Activation) and layer.activation is keras.activations.relu6


def _kernels_behind(
    layer: keras.Layer, readers_of: Callable[[keras.Layer], list[keras.Layer]], start: int
) -> list[tuple[Any, int]] | None:
    """The convolutions that read `layer` and the channel where it begins there.

    None where anything else does: a sum, a product, the model's output.
    """
    found: list[tuple[Any, int]] = []
    for reader in readers_of(layer):
        if isinstance(reader, layers.Conv2D | layers.DepthwiseConv2D):
            found.append((reader, start))
            continue
        first = start
        if isinstance(reader, layers.Concatenate):
            tensors = as_list(reader.input)
            position = [id(tensor) for tensor in tensors].index(id(layer.output))
            first += sum(tensor.shape[-1] for tensor in tensors[:position])
        elif not isinstance(reader, _PASSING):
            return None
        behind = _kernels_behind(reader, readers_of, first)
        if behind is None:
            return None
        found += behind
    return found or None
