"""Zero padding in front of a convolution becomes the convolution's own."""

from __future__ import annotations

from keras import layers

from converters.device_graph.graph import Graph


def pad_in_convolutions(graph: Graph) -> bool:
    """Replace ZeroPadding2D and a "valid" convolution by "same", where they are equal."""
    changed = False
    for node in graph.nodes():
        layer = node.layer
        if (
            isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
            and node.reads(layers.ZeroPadding2D)
            and layer.padding == "valid"
            and set(layer.strides) == {1}
            and _is_same(node.inputs[0].layer.padding, layer.kernel_size, layer.dilation_rate)
        ):
            same = node.changed(padding="same")
            same.inputs = list(node.inputs[0].inputs)
            graph.replace(node, same)
            changed = True
    return changed


def _is_same(
    padding: tuple[tuple[int, int], ...], kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> bool:
    """Whether TensorFlow's "same" pads by `padding`, ((top, bottom), (left, right)), too."""
    totals = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
    return all(
        tuple(sides) == (total // 2, total - total // 2)
        for sides, total in zip(padding, totals, strict=True)
    )
