"""Transposed convolutions: a convolution where the stride is 1, else one with DepthToSpace."""

from __future__ import annotations

from keras import layers

from converters.device_graph.batch_norm import fold_backward
from converters.device_graph.graph import Graph, Node
from converters.device_graph.nearest import is_pointwise
from converters.device_graph.sub_pixel import Axis, sub_pixel

_MOST_TAPS = 2
"""Larger kernels, such as bilinear ones of 16 pixels, would make too many channels."""


def transposed_as_convolutions(graph: Graph) -> bool:
    """Replace Conv2DTranspose of stride 1 by Conv2D, and of larger strides by `sub_pixel`."""
    changed = False
    for node in graph.nodes():
        layer = node.layer
        if not isinstance(layer, layers.Conv2DTranspose):
            continue
        changed |= fold_backward(graph, node)  # no converter does
        layer = node.layer
        if not _is_plain(layer):
            continue
        if set(layer.strides) == {1} and layer.padding == "same" and _is_odd(layer):
            new: Node | None = _flipped(node)
            old = node
        else:
            new, old = _phases(graph, node)
        if new is not None:
            graph.replace(old, new)
            changed = True
    return changed


def _is_plain(layer: layers.Conv2DTranspose) -> bool:
    rows, columns = layer.strides
    return rows == columns and set(layer.dilation_rate) == {1} and layer.output_padding is None


def _is_odd(layer: layers.Conv2DTranspose) -> bool:
    return all(size % 2 for size in layer.kernel_size)


def _flipped(node: Node) -> Node:
    layer = node.layer
    conv = layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        padding="same",
        use_bias=layer.use_bias,
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    kernel, *bias = node.weights
    kernel = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    return Node(conv, node.inputs, [kernel, *bias], channels=layer.filters)


def _phases(graph: Graph, node: Node) -> tuple[Node | None, Node]:
    """The nodes to put in, or None, and the node that they replace."""
    layer = node.layer
    axes = tuple(map(_axis, layer.kernel_size, layer.strides, [layer.padding] * 2))
    if any(axis.taps > _MOST_TAPS for axis in axes) or layer.strides[0] == 1:
        return None, node
    kernel, *bias = node.weights
    activation = graph.only_reader(node)
    if activation is not None and (not is_pointwise(activation) or activation.weights):
        activation = None
    rows, columns = axes
    new = sub_pixel(
        node.inputs[0],
        kernel.transpose(0, 1, 3, 2),
        bias[0] if bias else None,
        (rows, columns),
        node.layer.name,
        activation,
    )
    return new, node if activation is None else activation


def _axis(kernel: int, step: int, padding: str) -> Axis:
    """One axis of a transposed convolution as TensorFlow computes it."""
    if padding == "valid":
        return Axis(kernel, step, 0, max(kernel - step, 0))
    return Axis(kernel, step, max(kernel - step, 0) // 2)
