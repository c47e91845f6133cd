"""Correct channels: fit gains and offsets that compensate for int8 weights.

Rounding a kernel to int8 shifts the mean of each output channel, because ReLU6 activations are
never negative. It also scales the channel, most of all in depthwise kernels, which have nine
weights. Both errors add up over thirty layers. The BatchNorm that is folded into a convolution has
a gain and an offset for each channel, which cost nothing on the device. A gain does not change the
rounding, because the kernel's scale changes with it.

So gains and offsets are fitted, layer after layer, to the float model's outputs on calibration
pictures. Offsets: Nagel et al. 2019, arXiv:1906.04721, section 4.2. Gains: Banner et al. 2019,
arXiv:1810.05723, section 4.2, which fits them to the weights only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_float32
from converters.layers import CONVOLUTIONS, call, convolutions, kernel_axes, outputs

CHUNK = 4
"""How many pictures pass through a layer at once, to limit memory."""

_MOST_PICTURES, _FEWEST_PICTURES = 24, 4
_MOST_PIXELS = 24 * 256 * 256
"""Pixels to fit to: 24 pictures at 256 px, or fewer large ones, because memory grows with both.

See docs/decisions/031-channel-correction.md.
"""

_GAINS = (0.8, 1.25)
"""The range of accepted gains; a gain outside follows noise."""

_LEAST_VARIANCE = 1e-4
"""A channel with less variance gets no gain: its values span hardly one int8 step of 6/255."""


def correct_channels(
    model: keras.Model,
    calibration: Sequence[NDArray[np.uint8]],
    float_layers: Collection[str] = (),
) -> keras.Model:
    """A copy of `model` to convert to int8, whose files agree better with `model`.

    `calibration`: grids, uint8 (H, W, 3); without any, returns `model` itself. `float_layers`:
    convolutions that the file leaves in float32. Only biases and BatchNorm's gains and offsets
    differ. The copy fits this choice of int8 only: in float it is slightly worse than `model`.
    """
    if not len(calibration):
        return model
    reference = as_float32(model)
    corrected = keras.models.clone_model(reference)
    corrected.set_weights(reference.get_weights())
    for layer in convolutions(corrected):
        if layer.name not in float_layers:
            layer.kernel.assign(_rounded_kernel(layer))
    pixels = fitting_pictures(calibration)
    pairs = zip(
        outputs(reference, pixels, call_in_chunks),
        outputs(corrected, pixels, call_in_chunks),
        strict=True,
    )
    for (_, expected), (layer, actual) in pairs:
        correct(layer, expected, actual)
    for layer, copy in zip(convolutions(reference), convolutions(corrected), strict=True):
        copy.kernel.assign(layer.kernel)
    return corrected


def fitting_pictures(calibration: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The calibration pictures that layers are fitted to, (N, H, W, 3)."""
    height, width = calibration[0].shape[:2]
    count = min(_MOST_PICTURES, max(_FEWEST_PICTURES, _MOST_PIXELS // (height * width)))
    spread = np.unique(np.linspace(0, len(calibration) - 1, count).round().astype(int))
    return np.stack([calibration[index] for index in spread]).astype(np.float32)


def call_in_chunks(layer: keras.Layer, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Call a layer on CHUNK pictures at a time; inputs and output are (N, H, W, C)."""
    chunks = []
    for start in range(0, len(inputs[0]), CHUNK):
        chunk = call(layer, [array[start : start + CHUNK] for array in inputs])
        chunks.append(keras.ops.convert_to_numpy(chunk))
    return np.concatenate(chunks)


def correct(layer: keras.Layer, expected: NDArray[np.float32], actual: NDArray[np.float32]) -> None:
    """Fit the gain and offset of `layer`, and apply them to its output `actual`, in place.

    `expected` is the float model's output. Layers without gain and offset stay as they are.
    """
    if (offset := _offset(layer)) is None or actual.ndim != 4:
        return
    if isinstance(layer, layers.BatchNormalization) and layer.gamma is not None:
        gain = _gain(expected, actual)
        layer.gamma.assign(layer.gamma * gain)
        offset.assign(offset * gain)
        actual *= gain  # in place: the layers that follow see the corrected output
    shift = (_mean(expected) - _mean(actual)).astype(np.float32)
    offset.assign_add(shift)
    actual += shift


def _gain(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> NDArray[np.float32]:
    """The factor of each channel of `actual` that fits `expected` best, up to an offset."""
    expected_mean, actual_mean = _mean(expected), _mean(actual)
    variance = _mean(actual * actual) - actual_mean**2
    covariance = _mean(expected * actual) - expected_mean * actual_mean
    fitted = covariance / np.maximum(variance, _LEAST_VARIANCE)
    low, high = _GAINS
    accepted = (variance > _LEAST_VARIANCE) & (fitted > low) & (fitted < high)
    return np.where(accepted, fitted, 1).astype(np.float32)


def _mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
    # In float32, NumPy adds row after row: the mean of a million values 0.3 would be 1.4 % off.
    return np.asarray(values.mean((0, 1, 2), dtype=np.float64))


def _rounded_kernel(conv: Any) -> NDArray[np.float32]:
    """The kernel rounded to int8 and back: symmetric, one scale for each output channel.

    Both converters round the kernel with BatchNorm folded in. Folding multiplies each channel by
    one factor, so rounding before or after it gives the same.
    """
    kernel = keras.ops.convert_to_numpy(conv.kernel)
    largest = np.abs(kernel).max(kernel_axes(conv), keepdims=True)
    step = np.where(largest > 0, largest, 1) / 127
    return np.asarray(np.round(kernel / step) * step, np.float32)


def _offset(layer: keras.Layer) -> Any:
    """The variable that shifts the channels of this layer's output, or None.

    For a convolution with BatchNorm, which are one operator in the file, it is BatchNorm's.
    """
    if isinstance(layer, layers.BatchNormalization):
        return layer.beta
    return layer.bias if isinstance(layer, CONVOLUTIONS) else None
