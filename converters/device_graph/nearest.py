"""Nearest upsampling: moved behind what can work on fewer pixels, and merged into convolutions.

A convolution of nearest-upsampled pixels reads the same pixel several times. A transposed
convolution of the small picture, whose taps are sums of the kernel's, computes the same with less
than half of the multiplications.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.device_graph.batch_norm import fold_backward
from converters.device_graph.graph import Graph, Node
from converters.device_graph.layers import NearestResize
from converters.device_graph.sub_pixel import Axis, sub_pixel

LEAST_CHANNELS = 16
"""Upsampled channels with which merging pays for the copies that it makes."""

_MERGES = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Concatenate,
)


def is_nearest(node: Node) -> bool:
    """Whether a node repeats pixels."""
    layer = node.layer
    return isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest"


def is_pointwise(node: Node) -> bool:
    """Whether each output pixel is the same function of one input pixel."""
    match node.layer:
        case layers.ReLU() | layers.LeakyReLU() | layers.ELU() | layers.BatchNormalization():
            return True
        case layers.Activation():
            return str(node.layer.get_config()["activation"]) != "softmax"
        case layers.PReLU():
            return node.weights[0].shape[:2] == (1, 1)
        case layers.Conv2D() | layers.DepthwiseConv2D():
            return {*node.layer.kernel_size, *node.layer.strides} == {1}
        case _:
            return False


def upsample_late(graph: Graph) -> bool:
    """Move nearest upsampling behind pointwise layers, and behind sums of equal upsamplings."""
    changed = False
    moved = True
    while moved:
        moved = False
        for node in graph.nodes():
            if is_pointwise(node) and is_nearest(node.inputs[0]):
                pass
            elif isinstance(node.layer, _MERGES) and all(map(is_nearest, node.inputs)):
                if len({tuple(source.layer.size) for source in node.inputs}) > 1:
                    continue
            else:
                continue
            _swap(graph, node)
            moved = changed = True
            break
    return changed


def _swap(graph: Graph, node: Node) -> None:
    """Let `node` read what its upsamplings read, and upsample its output."""
    up = node.inputs[0]
    small = node.changed()
    small.inputs = [source.inputs[0] for source in node.inputs]
    after = up.changed(name=f"{node.layer.name}_{up.layer.name}")
    after.inputs, after.channels = [small], node.channels
    graph.replace(node, after)


def merge_into_convolutions(graph: Graph) -> bool:
    """Merge nearest upsampling into the convolutions that read it, through a Concatenate too."""
    changed = False
    for node in graph.nodes():
        layer = node.layer
        if not isinstance(layer, layers.Conv2D) or layer.groups != 1:
            continue
        if {*layer.strides, *layer.dilation_rate} != {1}:
            continue
        source = node.inputs[0]
        parts = source.inputs if isinstance(source.layer, layers.Concatenate) else [source]
        pays = [_pays(part, layer.kernel_size) for part in parts]
        if any(pays):
            _merge(graph, node, parts, pays)
            changed = True
    return changed


def _pays(node: Node, kernel: tuple[int, int]) -> bool:
    if not is_nearest(node) or len(set(node.layer.size)) > 1 or node.channels < LEAST_CHANNELS:
        return False
    taps = [axis.taps for axis in _axes(node, kernel, "same")]
    return taps[0] * taps[1] < kernel[0] * kernel[1]


def _axes(node: Node, kernel: tuple[int, int], padding: str) -> tuple[Axis, Axis]:
    """The transposed convolution of an upsampling and the convolution behind it."""

    def axis(size: int, step: int) -> Axis:
        before, extra = ((size - 1) // 2, 0) if padding == "same" else (0, 1 - size)
        return Axis(size + step - 1, step, size - 1 - before, extra)

    rows, columns = map(axis, kernel, node.layer.size)
    return rows, columns


def _merge(graph: Graph, conv: Node, parts: list[Node], pays: list[bool]) -> None:
    """Split a convolution by its inputs: a transposed one for each upsampling, one for the rest."""
    name = conv.layer.name
    fold_backward(graph, conv)
    kernel = conv.weights[0]
    bias = conv.weights[1] if conv.layer.use_bias else None
    kernels = np.split(kernel, np.cumsum([part.channels for part in parts])[:-1], axis=2)
    activation = None
    if len(parts) == 1:
        reader = graph.only_reader(conv)
        if reader is not None and is_pointwise(reader) and not reader.weights:
            activation = reader
    terms: list[Node] = []
    rest = [(part, own) for part, own, pay in zip(parts, kernels, pays, strict=True) if not pay]
    for number, (part, own, pay) in enumerate(zip(parts, kernels, pays, strict=True)):
        if pay:
            suffix = f"_{number}" if sum(pays) > 1 else ""
            merged = sub_pixel(
                part.inputs[0],
                _transposed(own, part.layer.size),
                None if terms else bias,
                _axes(part, kernel.shape[:2], conv.layer.padding),
                f"{name}_up{suffix}",
                activation,
            )
            assert merged is not None
            terms.append(merged)
    if rest:
        source = rest[0][0]
        if len(rest) > 1:
            inputs = [part for part, _ in rest]
            source = Node(
                layers.Concatenate(name=f"{name}_rest"),
                inputs,
                channels=sum(part.channels for part in inputs),
            )
        others = conv.changed([np.concatenate([own for _, own in rest], axis=2)], use_bias=False)
        others.inputs = [source]
        terms.append(others)
    result = terms[0]
    if len(terms) > 1:
        result = Node(layers.Add(name=f"{name}_sum"), terms)
    graph.replace(conv if activation is None else activation, result)


def _transposed(kernel: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """The transposed kernel that repeating pixels `size` times and `kernel` have together."""
    height, width, *channels = kernel.shape
    rows, columns = size
    taps = np.zeros((height + rows - 1, width + columns - 1, *channels))
    for y, x in np.ndindex(rows, columns):
        taps[y : y + height, x : x + width] += kernel[::-1, ::-1]
    return taps


def resize_the_rest(graph: Graph) -> bool:
    """Upsample by the resize operator where nothing else was found."""
    changed = False
    for node in graph.nodes():
        if is_nearest(node):
            layer = node.layer
            resize: Any = NearestResize(layer.size, name=layer.name, dtype=layer.dtype_policy)
            graph.replace(node, Node(resize, node.inputs))
            changed = True
    return changed
