"""Fit kernels to their int8 inputs, and round their weights jointly.

After many rounded layers, a kernel has other inputs than in float. The kernel that computes the
float output from them, by least squares, is slightly different (Hubara et al. 2021,
arXiv:2006.10518).

If each weight is rounded to its nearest step, the errors of a channel's weights add up by chance.
But inputs are correlated, between neighbouring pixels and between channels. So weights are rounded
one after another, and each error is compensated by the weights that are not rounded yet (Frantar
et al. 2022, arXiv:2210.17323). Both cost nothing on the device: the file has the same form and
size. See docs/decisions/033-fitted-kernels.md.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.int8.kernels import Rounding, round_bounded, round_plain
from converters.layers import from_rows, kernel_rows
from unet_edge.model_files.saturation import LARGEST_PAIR

Weights = NDArray[np.float64]

MOST_INPUTS = 1152
"""Kernels with more weights for an output channel are not fitted.

The covariance of n inputs has n² numbers, and its inverse takes n³ operations. A 3x3 kernel of 128
channels has 1,152 weights. The widest kernel of the separable networks has 1,024.
"""

_POSITIONS = 1 << 16
"""How many values of each channel are used, evenly spaced over pictures and pixels."""

_DAMPING = 0.01
"""Share of the mean variance that is added to each variance before weights are rounded."""

_DAMPINGS = (0.01, 0.1, 1.0)
"""Shares to choose from when a kernel is fitted; fewer pictures need a larger one."""


def fit_kernel(
    conv: keras.Layer,
    inputs: NDArray[np.float32],
    float_inputs: NDArray[np.float32],
    *,
    rounding: Rounding | None,
) -> NDArray[np.float32]:
    """Fit the kernel of `conv` so that on `inputs` it gives its own output on `float_inputs`.

    Both inputs are (N, H, W, C). `rounding` None leaves the fitted kernel in float. Otherwise its
    values are int8 steps, symmetric, with one scale for each output channel. A channel's largest
    weight stays an integer number of steps ("plain": 127), so that a converter finds the same
    scale again. Depthwise kernels are never bounded, unless a channel has several. Constant errors
    of the output are ignored: `correction` fits offsets.

    Transposed kernels, those of more than MOST_INPUTS weights a channel and those larger than their
    input are not fitted; their weights are rounded independently.
    """
    kernel: Weights = np.asarray(conv.kernel, np.float64)
    height, width = kernel.shape[:2]
    depthwise = isinstance(conv, layers.DepthwiseConv2D)
    bounded = rounding == "bounded" and (not depthwise or conv.depth_multiplier > 1)
    groups = kernel.shape[2] if depthwise else getattr(conv, "groups", 1)
    too_wide = not depthwise and height * width * kernel.shape[2] > MOST_INPUTS
    if too_wide or _exceeds(conv, inputs) or isinstance(conv, layers.Conv2DTranspose):
        if rounding is not None:
            kernel = _rounded_independently(conv, bounded=bounded)
        return np.asarray(kernel, np.float32)
    # Each group is a problem of its own; each channel of a depthwise kernel is a group. Weights are
    # (problems, taps, outputs), inputs (problems, taps, positions).
    weights = _by_group(kernel, groups, depthwise=depthwise)
    inputs, float_inputs = _padded(conv, inputs), _padded(conv, float_inputs)
    actual, expected = (
        _taps_by_group(each, height, width, conv.dilation_rate, groups)
        for each in (inputs, float_inputs)
    )
    fitted, covariance = _fitted(weights, actual, expected)
    if rounding is not None:
        inverse: Weights = np.asarray(np.linalg.inv(_damped(covariance, _DAMPING)), np.float64)
        steps: Weights = np.full((len(fitted), fitted.shape[-1]), 127, np.float64)
        if bounded:
            steps = np.stack([_bounded_steps(each, height, width) for each in fitted])
        fitted = _rounded(fitted, inverse, steps, bounded=bounded)
    return np.asarray(_from_groups(fitted, kernel.shape), np.float32)


def _exceeds(conv: keras.Layer, inputs: NDArray[np.float32]) -> bool:
    """Whether the kernel of `conv`, with its dilation, is larger than its inputs."""
    extents = [
        1 + (size - 1) * rate
        for size, rate in zip(conv.kernel_size, conv.dilation_rate, strict=True)
    ]
    return extents[0] > inputs.shape[1] or extents[1] > inputs.shape[2]


def _padded(conv: keras.Layer, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inputs with the zeros that `conv` itself pads them with.

    A fit to positions without padding may add to one tap what it takes from its neighbour, whose
    input is nearly the same. At a border, where the neighbour is 0, it would be wrong by far.
    """
    if conv.padding != "same":
        return inputs
    widths = [(0, 0)]
    for size, kernel, stride, rate in zip(
        inputs.shape[1:3], conv.kernel_size, conv.strides, conv.dilation_rate, strict=True
    ):
        reach = (math.ceil(size / stride) - 1) * stride + (kernel - 1) * rate + 1
        total = max(reach - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(inputs, [*widths, (0, 0)])


def _by_group(kernel: Weights, groups: int, *, depthwise: bool) -> Weights:
    """A kernel as (groups, taps, outputs of a group); taps run through a position's channels."""
    height, width, channels, last = kernel.shape
    if depthwise:
        return kernel.reshape(height * width, channels, last).swapaxes(0, 1)
    parts = kernel.reshape(height * width * channels, groups, last // groups)
    return np.ascontiguousarray(parts.swapaxes(0, 1))


def _from_groups(weights: Weights, shape: tuple[int, ...]) -> Weights:
    """The kernel whose `_by_group` is `weights`."""
    return weights.swapaxes(0, 1).reshape(shape)


def _fitted(
    weights: Weights, actual: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[Weights, Weights]:
    """The weights fitted by least squares, and the covariance of the actual taps."""
    middle = actual.shape[-1] // 2  # positions are in the pictures' order: two halves of them
    halves = (slice(None, middle), slice(middle, None))
    covariances = [_product(actual[..., half], actual[..., half]) for half in halves]
    differences = [_product(actual[..., half], (expected - actual)[..., half]) for half in halves]
    covariance = (covariances[0] + covariances[1]) / 2
    difference = (differences[0] + differences[1]) / 2
    damping = _best_damping(covariances, differences, weights)
    if damping is None:
        return weights, covariance
    change = np.linalg.solve(_damped(covariance, damping), difference @ weights)
    return weights + change, covariance


def _best_damping(
    covariances: list[Weights], differences: list[Weights], weights: Weights
) -> float | None:
    """The damping whose fit to either half errs least on the other half; None if no fit helps.

    A fit to few pictures follows their noise, and does harm on others.
    """
    best, least = None, 0.0
    for damping in _DAMPINGS:
        error = 0.0
        for half, other in ((0, 1), (1, 0)):
            change = np.linalg.solve(
                _damped(covariances[half], damping), differences[half] @ weights
            )
            # What the change adds to the squared error on the other half.
            added = covariances[other] @ change - 2 * differences[other] @ weights
            error += (change * added).sum()
        if error < least:
            best, least = damping, error
    return best


def _damped(covariance: Weights, damping: float) -> Weights:
    """Add a share of the mean variance to each variance.

    A problem with constant inputs gets 1 instead: any weight is right for it.
    """
    count = covariance.shape[-1]
    variance = covariance.trace(axis1=1, axis2=2) / count
    added = np.where(variance > 0, damping * variance, 1)
    return np.asarray(covariance + added[:, None, None] * np.eye(count), np.float64)


def _taps_by_group(
    inputs: NDArray[np.float32], height: int, width: int, dilation: tuple[int, int], groups: int
) -> NDArray[np.float32]:
    """The taps of each group, (groups, taps, positions)."""
    taps = _taps(inputs, height, width, dilation)
    parts = taps.reshape(height * width, groups, -1, taps.shape[-1]).swapaxes(0, 1)
    return np.ascontiguousarray(parts).reshape(groups, -1, taps.shape[-1])


def _taps(
    inputs: NDArray[np.float32], height: int, width: int, dilation: tuple[int, int]
) -> NDArray[np.float32]:
    """The inputs of each weight of a kernel, less their mean: (height * width, C, positions).

    Positions ignore the stride: it changes which are used, not their covariance. Their step has no
    common factor with the width, else they would all be in a few columns, away from one border.
    """
    down, right = dilation
    rows = inputs.shape[1] - (height - 1) * down
    columns = inputs.shape[2] - (width - 1) * right
    total = len(inputs) * rows * columns
    step = max(1, total * height * width // _POSITIONS)
    while math.gcd(step, columns) > 1:
        step += 1
    chosen = np.arange(0, total, step)
    picture, row, column = np.unravel_index(chosen, (len(inputs), rows, columns))
    taps = np.stack(
        [
            inputs[picture, row + y * down, column + x * right].T
            for y in range(height)
            for x in range(width)
        ]
    )
    taps -= taps.mean(-1, keepdims=True)
    return taps


def _product(first: NDArray[np.float32], second: NDArray[np.float32]) -> Weights:
    """Mean products over the positions, (problems, taps, taps)."""
    return np.asarray(first @ second.swapaxes(1, 2), np.float64) / max(1, first.shape[-1])


def _rounded_independently(conv: keras.Layer, *, bounded: bool) -> Weights:
    """The kernel of `conv` with weights rounded without regard to inputs."""
    kernel: Weights = np.asarray(kernel_rows(conv), np.float64)
    round_kernel = round_bounded if bounded else round_plain
    scales, integers = round_kernel(kernel)
    return from_rows(conv, integers * scales[:, None, None, None])


def _bounded_steps(weights: Weights, height: int, width: int) -> Weights:
    """The integer of each channel's largest weight in a bounded kernel, (out,).

    `weights`: (taps, out), where taps are (height, width, in).
    """
    kernel = weights.reshape(height, width, -1, weights.shape[-1])
    scales, _ = round_bounded(kernel.transpose(3, 2, 0, 1))
    # At least 1: a channel of zeros, which unused filters have, would give a step of 1 / 0.
    return np.maximum(np.round(abs(kernel).max((0, 1, 2)) / scales), 1)


def _rounded(weights: Weights, inverse: Weights, steps: Weights, *, bounded: bool) -> Weights:
    """Round `weights`, (problems, taps, outputs), one tap after another; they stay floats.

    `inverse`: of the taps' covariances, (problems, taps, taps). `steps`: the integer of each
    output's largest weight, (problems, outputs). `bounded`: pairs of taps keep to LARGEST_PAIR.
    """
    largest = abs(weights).max(1, keepdims=True)
    step = np.where(largest > 0, largest, 1) / steps[:, None]
    # Each output keeps its largest weight, which fixes the scale.
    fixed = np.zeros_like(weights)
    place = abs(weights).argmax(1)[:, None]
    np.put_along_axis(
        fixed, place, np.sign(np.take_along_axis(weights, place, 1)) * steps[:, None], axis=1
    )
    # Row i of the upper Cholesky factor: how a change of tap i must change the taps after it.
    factor = np.linalg.cholesky(inverse).swapaxes(1, 2)
    remaining, integers = weights.copy(), fixed.copy()
    for index in range(weights.shape[1]):
        current, largest_integer = remaining[:, index], fixed[:, index]
        nearest = np.round(current / step[:, 0]).clip(-steps, steps)
        if bounded and (partner := index ^ 1) < weights.shape[1]:
            # A partner after this tap is 0 here, unless it is the largest weight.
            other = integers[:, partner]
            room = np.where(nearest * other > 0, LARGEST_PAIR - abs(other), LARGEST_PAIR)
            nearest = nearest.clip(-room, room)
        integers[:, index] = np.where(largest_integer, largest_integer, nearest)
        error = (current - integers[:, index] * step[:, 0]) / factor[:, index, index, None]
        remaining[:, index + 1 :] -= factor[:, index, index + 1 :, None] * error[:, None]
    return integers * step
