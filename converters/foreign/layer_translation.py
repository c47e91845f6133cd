"""Translate the layers of Keras in a foreign model's graph to steps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from converters.foreign.flatten import Call
from converters.foreign.steps import Step
from converters.foreign.translation import (
    ACTIVATION,
    DENSE,
    SEPARABLE,
    VECTOR,
    Source,
    Translation,
    UnknownLayerError,
    activation_name,
    concatenate,
    merge,
    require,
    reshape,
    resize,
    short_name,
)
from converters.layers import CONVOLUTIONS

_KEPT = (
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.LeakyReLU,
    layers.PReLU,
)
_MERGES = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
_KERNELS = (*CONVOLUTIONS, layers.Conv2DTranspose)


def translate_layer(to: Translation, call: Call) -> Source:
    """Translate a layer of Keras. Raises UnknownLayerError, or ValueError if shapes do not fit."""
    layer = call.operation
    if getattr(layer, "data_format", None) == "channels_first":
        raise UnknownLayerError(call, "takes the channels first")
    match layer:
        case layers.Rescaling():
            return to.affine(call, call.values[0], layer.scale, layer.offset)
        case layers.Normalization():
            return to.affine(call, call.values[0], *_normalization(layer, call))
    name, sources = to.name(call), [to.step(value) for value in call.values]
    source = sources[0]
    match layer:
        case layers.SeparableConv2D():
            return _separable(to, call, name, source)
        case layers.Dense():
            return _dense(to, call, name, source)
        case layers.BatchNormalization():
            require(call, layer.axis in (-1, len(call.values[0].shape) - 1), "has another axis")
            return to.steps.copy(layer, name, [source], axis=-1)
        case layers.GlobalAveragePooling2D() | layers.GlobalMaxPooling2D():
            if not layer.keepdims:
                to.rewritten[call] = VECTOR
            return to.steps.add(type(layer), name, [source], keepdims=True)
        case layers.UpSampling2D():
            require(call, layer.interpolation in ("nearest", "bilinear"), "is not bilinear")
            return to.steps.copy(layer, name, [source])
        case layers.Resizing():
            return resize(to, call, name, source, (layer.height, layer.width))
        case layers.Reshape() | layers.Flatten():
            return reshape(to, call, name, source)
        case layers.Concatenate():
            rank = len(call.values[0].shape)
            return concatenate(to, call, name, sources, layer.axis in (-1, rank - 1))
    if isinstance(layer, _MERGES):
        return merge(to, call, type(layer), name, sources)
    if isinstance(layer, _KERNELS):
        activation = layer.activation
        if activation_name(activation) == "linear":
            return to.steps.copy(layer, name, [source])
        to.rewritten[call] = ACTIVATION
        step = to.steps.copy(layer, name, [source])
        return to.activate(f"{name}_{short_name(activation)}", step, activation, call)
    if (activated := to.activation_layer(layer, name, source, call)) is not None:
        return activated
    if isinstance(layer, _KEPT):
        return to.steps.copy(layer, name, [source])
    raise UnknownLayerError(call)


def _separable(to: Translation, call: Call, name: str, source: Step) -> Step:
    layer = call.operation
    depthwise, pointwise, *bias = layer.get_weights()
    step = to.steps.add(
        layers.DepthwiseConv2D,
        f"{name}_depthwise",
        [source],
        [depthwise],
        kernel_size=layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
    )
    step = to.steps.add(
        layers.Conv2D,
        f"{name}_pointwise",
        [step],
        [pointwise, *bias],
        filters=layer.filters,
        kernel_size=1,
        use_bias=layer.use_bias,
    )
    to.rewritten[call] = SEPARABLE
    return to.activate(f"{name}_{short_name(layer.activation)}", step, layer.activation, call)


def _dense(to: Translation, call: Call, name: str, source: Step) -> Step:
    layer = call.operation
    require(call, len(call.values[0].shape) in (2, 4), f"reads {source.shape}")
    kernel, *bias = layer.get_weights()
    step = to.steps.add(
        layers.Conv2D,
        name,
        [source],
        [kernel[np.newaxis, np.newaxis], *bias],
        filters=layer.units,
        kernel_size=1,
        use_bias=layer.use_bias,
    )
    to.rewritten[call] = DENSE
    return to.activate(f"{name}_{short_name(layer.activation)}", step, layer.activation, call)


def _normalization(layer: layers.Normalization, call: Call) -> tuple[Any, Any]:
    """Factor and term of a Normalization layer."""
    require(call, layer.mean is not None, "was not adapted to data")
    mean = np.ravel(keras.ops.convert_to_numpy(layer.mean)).astype(np.float64)
    variance = np.ravel(keras.ops.convert_to_numpy(layer.variance)).astype(np.float64)
    std = np.maximum(np.sqrt(variance), keras.config.epsilon())  # as Keras does
    return (std, mean) if layer.invert else (1 / std, -mean / std)
