"""The ranges of operands of a sum with ReLU, which int8 files cut where the sum is below 0."""

from __future__ import annotations

import keras

from converters.device_graph.layers import DepthToSpace
from converters.layers import readers

Ranges = dict[str, tuple[float, float]]
"""The lowest and the highest value of each layer's output, by the layer's name."""

# What these write has the range of what they read.
_PASSING = (DepthToSpace, keras.layers.Cropping2D)


def operands(model: keras.Model) -> list[tuple[list[str], str]]:
    """The layers behind each operand of sums with ReLU, and the layer of the other operand."""
    readers_of = readers(model)
    found: list[tuple[list[str], str]] = []
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Add) or len(layer.input) != 2:
            continue
        following = readers_of(layer)
        if len(following) != 1 or not isinstance(following[0], keras.layers.ReLU):
            continue
        first, second = (tensor._keras_history.operation for tensor in layer.input)
        for source, other in ((first, second), (second, first)):
            names: list[str] = []
            while len(readers_of(source)) == 1:
                names.append(source.name)
                if not isinstance(source, _PASSING):
                    break
                source = source.input._keras_history.operation
            found.append((names, other.name))
    return found


def cut_sums(model: keras.Model, ranges: Ranges) -> Ranges:
    """The ranges of a file's tensors: `ranges`, but for operands that a ReLU cuts.

    Below minus the largest value of the other operand, the sum is below 0. `tflite.ranges` does
    the same to a file.
    """
    cut = dict(ranges)
    for names, other in operands(model):
        lowest = min(0.0, -ranges[other][1])
        cut |= {name: (max(ranges[name][0], lowest), ranges[name][1]) for name in names}
    return cut
