"""Correction of channels: gains and offsets that make up for int8 weights.

Rounding a kernel to int8 shifts the mean of each output channel, because ReLU6 activations are
never negative, and stretches it, most of all in depthwise kernels of nine weights; both add up
over thirty layers. A BatchNorm that folds into the convolution carries a gain and an offset for
each channel that cost nothing on the device, and a gain leaves the rounding where it was: the
scale of the kernel moves along. So both are fitted, layer after layer, to what the float model
computes for calibration pictures (offsets: Nagel et al. 2019, arXiv:1906.04721, section 4.2; gains
too: Banner et al. 2019, arXiv:1810.05723, section 4.2, there for the weights alone).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_float32, as_list

CHUNK = 4
"""How many pictures pass through a layer at once."""

_MOST, _LEAST = 24, 4
_PIXELS = 24 * 256 * 256
"""How much is measured: 24 pictures at 256 px; fewer large ones, as memory grows with both.

One cats model (alpha 1.0, 256 px, int8 TFLite, 48 test pictures) agreed with Keras on 99.643 % of
pixels with 8 and 99.666 % with 24; one membranes model (512 px) on 99.725 % with either.
"""

_GAINS = (0.8, 1.25)
"""A gain beyond is the fit of noise, and is not taken."""

_VARIES = 1e-4
"""Variance of a channel that has a gain to fit; below, it hardly leaves one int8 step of 6/255."""


def correct_channels(
    model: keras.Model,
    calibration: Sequence[NDArray[np.uint8]],
    float_layers: Collection[str] = (),
) -> keras.Model:
    """A copy of `model` whose int8 files come closer to it; convert the copy, not `model`.

    `calibration`: grids, uint8 (H, W, 3); without any, `model` itself comes back. `float_layers`:
    convolutions that the file will not round. Only biases and BatchNorm's gains and offsets
    differ. The copy is for this choice of int8 alone: in float it is slightly worse than `model`.
    """
    if not len(calibration):
        return model
    reference = as_float32(model)
    corrected = keras.models.clone_model(reference)
    corrected.set_weights(reference.get_weights())
    for layer in corrected.layers:
        if (
            isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
            and layer.name not in float_layers
        ):
            layer.kernel.assign(_rounded(layer))
    pixels = measured(calibration)
    pairs = zip(outputs(reference, pixels), outputs(corrected, pixels), strict=True)
    for (_, wanted), (layer, found) in pairs:
        correct(layer, wanted, found)
    for layer, twin in zip(reference.layers, corrected.layers, strict=True):
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            twin.kernel.assign(layer.kernel)
    return corrected


def measured(calibration: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The calibration pictures that layers are compared on, (N, H, W, 3)."""
    height, width = calibration[0].shape[:2]
    count = min(_MOST, max(_LEAST, _PIXELS // (height * width)))
    spread = np.unique(np.linspace(0, len(calibration) - 1, count).round().astype(int))
    return np.stack([calibration[index] for index in spread]).astype(np.float32)


def correct(layer: keras.Layer, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    """Fit gain and offset of `layer`, and change `found`, its output, accordingly, in place.

    Layers without either stay as they are.
    """
    if (offset := _offset(layer)) is None:
        return
    if isinstance(layer, layers.BatchNormalization):
        gain = _gain(wanted, found)
        layer.gamma.assign(layer.gamma * gain)
        offset.assign(offset * gain)
        found *= gain  # in place: the layers that follow see the corrected output
    shift = (_mean(wanted) - _mean(found)).astype(np.float32)
    offset.assign_add(shift)
    found += shift


def _gain(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """The factor for each channel of `found` that, with an offset, comes closest to `wanted`."""
    wanted_mean, found_mean = _mean(wanted), _mean(found)
    power = _mean(found * found) - found_mean**2
    shared = _mean(wanted * found) - wanted_mean * found_mean
    fitted = shared / np.maximum(power, _VARIES)
    low, high = _GAINS
    taken = (power > _VARIES) & (fitted > low) & (fitted < high)
    return np.where(taken, fitted, 1).astype(np.float32)


def _mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
    # In float32 NumPy adds row after row: the mean of a million 0.3 would be 1.4 % off.
    return np.asarray(values.mean((0, 1, 2), dtype=np.float64))


def _rounded(conv: Any) -> NDArray[np.float32]:
    """The kernel after a trip through int8: symmetric, one scale for each output channel.

    As both converters do it, the scale is that of the kernel with BatchNorm folded in; folding
    multiplies a channel by one factor, so that rounding commutes with it.
    """
    kernel = keras.ops.convert_to_numpy(conv.kernel)
    axes = (0, 1, 3) if isinstance(conv, layers.DepthwiseConv2D) else (0, 1, 2)
    largest = np.abs(kernel).max(axes, keepdims=True)
    step = np.where(largest > 0, largest, 1) / 127
    return np.asarray(np.round(kernel / step) * step, np.float32)


def _offset(layer: keras.Layer) -> Any:
    """The variable that shifts this layer's output by channel, or None.

    Of a convolution and its BatchNorm, which become one in the file, that is the latter's.
    """
    if isinstance(layer, layers.BatchNormalization):
        before = layer.input._keras_history.operation
        convolution = isinstance(before, layers.Conv2D | layers.DepthwiseConv2D)
        return layer.beta if convolution else None
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        return layer.bias
    return None


def outputs(
    model: keras.Model,
    pixels: NDArray[np.float32],
    before: Callable[[keras.Layer, list[NDArray[np.float32]]], None] = lambda *_: None,
) -> Iterator[tuple[keras.Layer, NDArray[np.float32]]]:
    """Each layer with its output on `pixels`, in order; an output lives while it is needed.

    `before` is called with each layer and its inputs before the layer runs.
    """
    inputs = {layer: as_list(layer.input) for layer in model.layers}
    waiting = Counter(id(tensor) for tensors in inputs.values() for tensor in tensors)
    alive: dict[int, NDArray[np.float32]] = {id(model.inputs[0]): pixels}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        found = [alive[id(tensor)] for tensor in inputs[layer]]
        before(layer, found)
        output = _run(layer, found)
        alive[id(layer.output)] = output
        yield layer, output
        for tensor in inputs[layer]:
            waiting[id(tensor)] -= 1
            if not waiting[id(tensor)]:
                alive.pop(id(tensor))


def _run(layer: keras.Layer, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    chunks = []
    for start in range(0, len(inputs[0]), CHUNK):
        parts = [array[start : start + CHUNK] for array in inputs]
        output = layer(parts if len(parts) > 1 else parts[0], training=False)
        chunks.append(keras.ops.convert_to_numpy(output))
    return np.concatenate(chunks)
