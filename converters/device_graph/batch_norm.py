"""BatchNorm that no convolution precedes: folded into the convolutions behind it, or one operator.

The converters fold BatchNorm into the convolution before it. Behind an activation, a sum or a pool
they leave a multiplication and an addition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.device_graph.graph import Graph, Node

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)


@dataclass(frozen=True)
class Affine:
    """x * gain + shift for each channel, float64 (C,)."""

    gain: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, node: Node) -> Affine:
        """What a BatchNormalization computes in inference."""
        layer, arrays = node.layer, [array.astype(np.float64) for array in node.weights]
        gamma = arrays.pop(0) if layer.scale else 1.0
        beta = arrays.pop(0) if layer.center else 0.0
        mean, variance = arrays
        gain = gamma / np.sqrt(variance + layer.epsilon)
        return cls(gain, beta - mean * gain)


def follows_convolution(graph: Graph, node: Node) -> bool:
    """Whether the converters fold this BatchNormalization into the convolution before it."""
    return isinstance(node.inputs[0].layer, _CONVOLUTIONS) and (
        graph.only_reader(node.inputs[0]) is node
    )


def _stands_alone(graph: Graph, node: Node) -> bool:
    """Whether a node is a BatchNorm of channels without a convolution before it to take it."""
    return (
        isinstance(node.layer, layers.BatchNormalization)
        and not follows_convolution(graph, node)
        and _last_axis(node)
    )


def scale_backward(graph: Graph) -> bool:
    """Move the gains of a BatchNorm behind Conv-ReLU into the convolution, as powers of two.

    ReLU(x) * gain is ReLU(x * gain) for a gain above 0. The channels between both then have about
    the same range, so int8 has steps for each; and powers of two change no bit of a float.
    """
    changed = False
    for node in graph.nodes():
        if not (_stands_alone(graph, node) and _is_homogeneous(node.inputs[0])):
            continue
        activation = node.inputs[0]
        conv = activation.inputs[0]
        if not isinstance(conv.layer, layers.Conv2D):
            continue
        if conv.layer.activation is not keras.activations.linear:
            continue
        if graph.only_reader(activation) is not node or graph.only_reader(conv) is not activation:
            continue
        factors = _powers_of_two(node)
        if (factors == 1).all():
            continue
        kernel, *bias = conv.weights
        conv.weights = [kernel * factors, *(each * factors for each in bias)]
        if not node.layer.scale:
            node.layer = type(node.layer).from_config({**node.layer.get_config(), "scale": True})
            node.weights = [np.ones_like(factors), *node.weights]
        gamma, *beta, mean, variance = node.weights
        node.weights = [gamma / factors, *beta, mean * factors, variance]
        changed = True
    return changed


def _is_homogeneous(node: Node) -> bool:
    """Whether a node passes positive factors on: ReLU without a limit."""
    layer = node.layer
    match layer:
        case layers.ReLU():
            return layer.max_value is None and not layer.threshold
        case layers.LeakyReLU():
            return True
        case layers.Activation():
            return layer.activation in (keras.activations.relu, keras.activations.leaky_relu)
        case _:
            return False


def _powers_of_two(norm: Node) -> NDArray[np.float32]:
    """The power of two next to each channel's gain, (C,); 1 for a gain that is not positive.

    A channel that never fired in training has no variance, and a gain of up to 1/sqrt(epsilon).
    It gets the median of the others: its sums are as large as theirs, only negative.
    """
    gain = Affine.of(norm).gain
    fired = (norm.weights[-1] > norm.layer.epsilon) & (gain > 0)
    if not fired.any():
        return np.ones(gain.size, np.float32)
    exponents = np.log2(gain, where=gain > 0, out=np.zeros(gain.size))
    exponents[~fired & (gain > 0)] = np.median(exponents[fired])
    # Beyond, kernels would leave the range of float32.
    return np.exp2(exponents.round().clip(-60, 60)).astype(np.float32)


def fold_forward(graph: Graph) -> bool:
    """Fold BatchNorm into the convolutions that read it, where zero padding allows."""
    changed = False
    for node in graph.nodes():
        if not _stands_alone(graph, node):
            continue
        affine = Affine.of(node)
        found = list(_ends(graph, node, affine, 0))
        ends = [end for end in found if end is not None]
        if len(ends) < len(found):
            continue
        for conv, start in ends:
            _fold(conv, affine, start)
        graph.replace(node, node.inputs[0])
        changed = True
    return changed


def fold_backward(graph: Graph, conv: Node) -> bool:
    """Fold the BatchNorm behind a convolution into it, in place, if nothing else reads it.

    `conv` is a Conv2D or Conv2DTranspose. Returns whether there was one.
    """
    reader = graph.only_reader(conv)
    if reader is None or not isinstance(reader.layer, layers.BatchNormalization):
        return False
    if not _last_axis(reader):
        return False
    affine = Affine.of(reader)
    transposed = isinstance(conv.layer, layers.Conv2DTranspose)
    gain = affine.gain[:, np.newaxis] if transposed else affine.gain
    bias = conv.weights[1] * affine.gain if conv.layer.use_bias else 0
    _set(conv, conv.weights[0] * gain, bias + affine.shift)
    graph.replace(reader, conv)
    return True


def as_depthwise(graph: Graph) -> bool:
    """Make every other BatchNorm without a convolution before it a depthwise convolution of 1x1.

    XNNPACK multiplies, adds and clips in one pass over the tensor for it.
    """
    changed = False
    for node in graph.nodes():
        if not _stands_alone(graph, node):
            continue
        affine = Affine.of(node)
        depthwise = layers.DepthwiseConv2D(1, name=node.layer.name, dtype=node.layer.dtype_policy)
        kernel = affine.gain[np.newaxis, np.newaxis, :, np.newaxis]
        graph.replace(node, Node(depthwise, node.inputs, [kernel, affine.shift]))
        changed = True
    return changed


def _last_axis(node: Node) -> bool:
    axis = node.layer.axis
    return (axis[0] if isinstance(axis, list | tuple) else axis) in (-1, 3)


def _ends(
    graph: Graph, node: Node, affine: Affine, start: int
) -> Iterator[tuple[Node, int] | None]:
    """The convolutions that read a BatchNorm's channels, with the first of these in their input.

    Yields None for a reader that neither passes an affine map on nor can take it in.
    """
    if node is graph.output:
        yield None
    for reader in graph.readers(node):
        layer = reader.layer
        match layer:
            case layers.Concatenate() if reader.inputs.count(node) == 1:
                before = reader.inputs[: reader.inputs.index(node)]
                yield from _ends(
                    graph, reader, affine, start + sum(source.channels for source in before)
                )
            case layers.UpSampling2D() | layers.AveragePooling2D() | layers.Cropping2D():
                yield from _ends(graph, reader, affine, start)
            case layers.GlobalAveragePooling2D() if layer.keepdims:
                yield from _ends(graph, reader, affine, start)
            case layers.MaxPooling2D() if (affine.gain > 0).all():
                yield from _ends(graph, reader, affine, start)
            case layers.ZeroPadding2D() if not affine.shift.any():
                yield from _ends(graph, reader, affine, start)
            case layers.Conv2D() if layer.groups == 1 and _takes(layer, affine):
                yield reader, start
            case layers.DepthwiseConv2D() if _takes(layer, affine):
                yield reader, start
            case _:
                yield None


def _takes(layer: Any, affine: Affine) -> bool:
    """Whether a shift of the input shifts the output evenly: no zeros are padded to it."""
    return layer.padding == "valid" or set(layer.kernel_size) == {1} or not affine.shift.any()


def _fold(conv: Node, affine: Affine, start: int) -> None:
    """Fold an affine map of the input channels from `start` into a convolution, in place."""
    kernel = conv.weights[0].astype(np.float64)
    channels = slice(start, start + affine.gain.size)
    part = kernel[:, :, channels]
    shifted = (part * affine.shift[:, np.newaxis]).sum((0, 1))  # (channels in, out or multiplier)
    if isinstance(conv.layer, layers.DepthwiseConv2D):
        shifts = np.zeros(kernel.shape[2:])
        shifts[channels] = shifted
        added = shifts.reshape(-1)
    else:
        added = shifted.sum(0)
    kernel[:, :, channels] = part * affine.gain[:, np.newaxis]
    _set(conv, kernel, added + (conv.weights[1] if conv.layer.use_bias else 0))


def _set(conv: Node, kernel: NDArray[Any], bias: NDArray[Any]) -> None:
    """Set a convolution's kernel and bias, in place."""
    if not conv.layer.use_bias:
        settings = {**conv.layer.get_config(), "use_bias": True}
        conv.layer = type(conv.layer).from_config(settings)
    conv.weights = [kernel.astype(np.float32), bias.astype(np.float32)]
