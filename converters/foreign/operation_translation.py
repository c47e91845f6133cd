"""Translate operations of keras.ops in a foreign model's graph to steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from converters.foreign.flatten import Call, Value
from converters.foreign.pixel_scale import PixelChannel, PixelScale
from converters.foreign.steps import Step
from converters.foreign.translation import (
    OPERATION,
    VECTOR,
    Source,
    Translation,
    UnknownLayerError,
    concatenate,
    merge,
    reshape,
    resize,
)

_ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Selu": "selu",
    "LogSigmoid": "log_sigmoid",
    "Mish": "mish",
    "Exp": "exponential",
}
_MERGES = {
    "Add": layers.Add,
    "Subtract": layers.Subtract,
    "Multiply": layers.Multiply,
    "Maximum": layers.Maximum,
    "Minimum": layers.Minimum,
}


def translate_operation(to: Translation, call: Call) -> Source:
    """Translate an operation. Raises UnknownLayerError, or ValueError if shapes do not fit."""
    operation = call.operation
    arguments = _arguments(call)
    match call.kind:
        case "Add" | "Subtract" | "Multiply" | "Divide" | "TrueDivide" | "Maximum" | "Minimum":
            return _binary(to, call, *arguments[:2])
        case "Stack" | "Concatenate" if isinstance(to.sources[call.values[0]], PixelChannel):
            return _colours(to, call)
        case "Negative":
            return to.affine(call, call.values[0], -1.0, 0.0)
        case "GetItem":
            return _get_item(to, call, *arguments[:2])
    name, sources = to.name(call), [to.step(value) for value in call.values]
    source = sources[0]
    to.rewritten[call] = OPERATION
    if (activated := _activation(to, call, name, source)) is not None:
        return activated
    match call.kind:
        case "Square":
            step = merge(to, call, layers.Multiply, name, [source, source])
        case "Concatenate":
            rank = len(call.values[0].shape)
            step = concatenate(to, call, name, sources, operation.axis in (-1, rank - 1))
        case "Mean" | "Max" | "Amax":
            step = _global_pool(to, call, name, source)
        case "Resize" if operation.data_format == "channels_last":
            step = resize(to, call, name, source, operation.size)
        case "Reshape" | "ExpandDims" | "Squeeze":
            step = reshape(to, call, name, source)
        case "Pad":
            step = _pad(to, call, name, source)
        case "MaxPool" | "AveragePool" if operation.data_format == "channels_last":
            kind = layers.MaxPooling2D if call.kind == "MaxPool" else layers.AveragePooling2D
            step = to.steps.add(
                kind,
                name,
                [source],
                pool_size=operation.pool_size,
                strides=operation.strides,
                padding=operation.padding,
            )
        case _:
            raise UnknownLayerError(call)
    return step


def _activation(to: Translation, call: Call, name: str, source: Step) -> Step | None:
    """Add the step of an operation that is an activation; None if it is none."""
    operation = call.operation
    match call.kind:
        case kind if kind in _ACTIVATIONS:
            return to.activate(name, source, _Named(_ACTIVATIONS[kind]), call)
        case "Softmax" if operation.axis in (-1, 3):
            return to.activate(name, source, _Named("softmax"), call)
        case "Gelu" if not operation.approximate:
            return to.activate(name, source, _Named("gelu"), call)
        case "Elu" if operation.alpha == 1:
            return to.activate(name, source, _Named("elu"), call)
        case "LeakyRelu":
            return to.relu(name, source, None, operation.negative_slope, 0, call)
        case "ReLU":
            slope, threshold = operation.negative_slope, operation.threshold
            return to.relu(name, source, operation.max_value, slope, threshold, call)
        case "Clip" if (operation.x_min, operation.x_max) == (0, 6):
            return to.relu(name, source, 6.0, 0, 0, call)
    return None


class _Named:
    """An activation by its name, as a function of Keras would have it."""

    def __init__(self, name: str) -> None:
        self.__name__ = name


def _arguments(call: Call) -> list[Any]:
    """The positional arguments, then those that were given by name."""
    return [*call.args, *call.kwargs.values()]


def _binary(to: Translation, call: Call, left: Any, right: Any) -> Source:
    """A sum, product or the like of two maps, or of a map and a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        if call.kind not in _MERGES:
            raise UnknownLayerError(call, "divides one map by another")
        to.rewritten[call] = OPERATION
        sources = [to.step(left), to.step(right)]
        return merge(to, call, _MERGES[call.kind], to.name(call), sources)
    value = left if isinstance(left, Value) else right
    constant = np.asarray(right if value is left else left, np.float64)
    match call.kind:
        case "Add":
            return to.affine(call, value, 1.0, constant)
        case "Subtract" if value is left:
            return to.affine(call, value, 1.0, -constant)
        case "Subtract":
            return to.affine(call, value, -1.0, constant)
        case "Multiply":
            return to.affine(call, value, constant, 0.0)
        case "Divide" | "TrueDivide" if value is left:
            return to.affine(call, value, 1 / constant, 0.0)
        case "Maximum" if not constant.any():
            to.rewritten[call] = OPERATION
            return to.activate(to.name(call), to.step(value), _Named("relu"), call)
        case _:
            raise UnknownLayerError(call, "has a constant")


def _get_item(to: Translation, call: Call, value: Value, key: Any) -> Source:
    """A slice: channels in reverse order, new axes of a vector, or cropped borders."""
    source = to.sources[value]
    rank = len(value.shape)
    keys = list(key) if isinstance(key, tuple | list) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        missing = rank - sum(each is not None for each in keys) + 1
        keys[place : place + 1] = [slice(None)] * missing
    if isinstance(source, PixelScale) and keys[:-1] == [slice(None)] * 3:
        match keys[-1]:
            case slice(start=None, stop=None, step=-1):
                to.scaled_in_model.append(call.name)
                return source.reordered(2, 1, 0)
            case int(channel):
                return PixelChannel(source, channel % 3)
            case slice(start=int(first), stop=int(last), step=None) if last == first + 1:
                return PixelChannel(source, first)
    step = to.step(value)
    to.rewritten[call] = OPERATION
    if rank == 2 and [each for each in keys if each is not None] == [slice(None)] * 2:
        return reshape(to, call, to.name(call), step)
    keys += [slice(None)] * (rank - len(keys))
    whole = keys[0] == keys[-1] == slice(None)
    slices = all(isinstance(each, slice) and each.step in (None, 1) for each in keys)
    if rank != 4 or not whole or not slices:
        raise UnknownLayerError(call, "takes a part of a map that is no rectangle")
    cropping = []
    for each, length in zip(keys[1:3], step.shape[:2], strict=True):
        start, stop, _ = each.indices(length)
        cropping.append((start, length - stop))
    return to.steps.add(layers.Cropping2D, to.name(call), [step], cropping=tuple(cropping))


def _colours(to: Translation, call: Call) -> Source:
    """Three channels of the picture, put together in another order."""
    channels = [to.sources[value] for value in call.values]
    indices = [each.channel for each in channels if isinstance(each, PixelChannel)]
    pixels = {each.pixels for each in channels if isinstance(each, PixelChannel)}
    last = call.operation.axis in (-1, 3)
    if len(indices) != len(channels) or sorted(indices) != [0, 1, 2] or len(pixels) > 1 or not last:
        raise UnknownLayerError(call, "puts channels of the picture together")
    to.scaled_in_model.append(call.name)
    return pixels.pop().reordered(*indices)


def _global_pool(to: Translation, call: Call, name: str, source: Step) -> Step:
    axis = call.operation.axis
    axes = {each % 4 for each in axis} if isinstance(axis, tuple | list) else set()
    if axes != {1, 2} or len(call.values[0].shape) != 4:
        raise UnknownLayerError(call, "is not over height and width")
    if not call.operation.keepdims:
        to.rewritten[call] = VECTOR
    kind = layers.GlobalAveragePooling2D if call.kind == "Mean" else layers.GlobalMaxPooling2D
    return to.steps.add(kind, name, [source], keepdims=True)


def _pad(to: Translation, call: Call, name: str, source: Step) -> Step:
    operation = call.operation
    widths = [tuple(width) for width in operation.pad_width]
    value = call.kwargs.get("constant_values") or 0
    spatial = len(widths) == 4 and widths[0] == widths[3] == (0, 0)
    if operation.mode != "constant" or value or not spatial:
        raise UnknownLayerError(call, "does not pad borders with zeros")
    return to.steps.add(layers.ZeroPadding2D, name, [source], padding=tuple(widths[1:3]))
