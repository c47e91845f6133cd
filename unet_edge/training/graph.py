"""The graph of any network: the sizes that it takes, and the layers that are its encoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from unet_edge.errors import ConfigError

_STRIDES = (2, 4, 8, 16, 32, 64)

_GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)


def at_size(model: keras.Model, size: tuple[int, int]) -> keras.Model | None:
    """Copy a network for pictures of `size`, (height, width) px; None if it does not take them.

    The copy has other weights. A network takes a size if its scores have it too.
    """
    fixed = model.input_shape[1:3]
    if any(own not in (None, edge) for own, edge in zip(fixed, size, strict=True)):
        return None
    try:
        pixels = keras.Input((*size, 3), batch_size=1)
        sized: keras.Model = keras.models.clone_model(model, input_tensors=pixels)
    except ValueError:  # maps of different sizes meet
        return None
    return sized if sized.output_shape[1:3] == size else None


def require_size(model: keras.Model, size: tuple[int, int], label: str, owner: str) -> None:
    """Raise ConfigError unless the network of `owner` takes pictures of `size`."""
    if at_size(model, size) is not None:
        return
    fixed = model.input_shape[1:3]
    if None not in fixed:
        raise ConfigError(
            f"{label} is {size[0]}x{size[1]}",
            expected=f"the network of {owner} takes {fixed[0]}x{fixed[1]} px alone",
            fix="omit --size and --crop",
        )
    for stride in _STRIDES:
        height, width = (max(stride, round(edge / stride) * stride) for edge in size)
        if at_size(model, (height, width)) is not None:
            raise ConfigError(
                f"{label} is {size[0]}x{size[1]}",
                expected=f"the network of {owner} takes {height}x{width} px, for example",
                fix=f"give --{label} {height}x{width}",
            )
    raise ConfigError(
        f"{label} is {size[0]}x{size[1]}, which the network of {owner} does not take",
        fix="omit --size and --crop",
    )


def encoder_layers(sized: keras.Model) -> frozenset[str]:
    """Name the layers on the way to the lowest resolution, with those at this resolution.

    `sized` is a network of `at_size`. Pooling to a single value is no resolution: it gates
    channels, or describes the picture. Empty for a network that never reduces the picture.
    """
    areas: dict[str, int] = {}
    single: set[str] = set()
    for layer in sized.layers:
        shape = layer.output.shape
        areas[layer.name] = shape[1] * shape[2] if len(shape) == 4 else 1
        before = [tensor._keras_history.operation.name for tensor in inputs_of(layer)]
        pooled = isinstance(layer, layers.AveragePooling2D) and areas[layer.name] == 1
        if isinstance(layer, _GLOBAL) or pooled or (before and single.issuperset(before)):
            single.add(layer.name)
    lowest = min(area for name, area in areas.items() if name not in single)
    if lowest == areas[sized.layers[0].name]:
        return frozenset()
    found: set[str] = set()
    stack = [layer for layer in sized.layers if areas[layer.name] == lowest]
    stack = [layer for layer in stack if layer.name not in single]
    while stack:
        layer = stack.pop()
        if layer.name not in found:
            found.add(layer.name)
            stack += [tensor._keras_history.operation for tensor in inputs_of(layer)]
    return frozenset(found)


def inputs_of(layer: layers.Layer) -> list[Any]:
    """The tensors that enter a layer that is called once."""
    if isinstance(layer, layers.InputLayer):
        return []
    given = layer.input
    return list(given) if isinstance(given, (list, tuple)) else [given]
