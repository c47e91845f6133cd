"""Kernels fitted to what they really see in int8, and rounded with an eye on each other.

Behind thirty rounded layers a kernel sees other inputs than in float. The kernel that makes of
them what was wanted, by least squares, is a little different (Hubara et al. 2021,
arXiv:2006.10518). And where each weight goes to its nearest step, the errors of a channel's
weights add up by chance. But inputs are correlated: neighbouring pixels are alike, and so are
channels. So weights are rounded one after another, and each error is spread over the weights that
are left, so that for inputs as measured the sum stays what it was (Frantar et al. 2022,
arXiv:2210.17323). Both cost nothing on the device: the file has the same form and size. See
docs/decisions/033-fitted-kernels.md.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.int8.kernels import Rounding, round_bounded, round_plain
from unet_edge.model_files.saturation import LARGEST_PAIR

Weights = NDArray[np.float64]

MOST_INPUTS = 1152
"""Most weights of an output channel that are fitted.

The covariance of n inputs takes n² numbers and its inverse n³ operations. 1,152 are a 3x3 kernel of
128 channels; the separable networks' widest has 1,024.
"""

_POSITIONS = 1 << 16
"""How many values of each channel are looked at, spread evenly over pictures and pixels."""

_DAMPING = 0.01
"""Share of the mean variance that is added to each before weights are rounded."""

_DAMPINGS = (0.01, 0.1, 1.0)
"""Shares to choose from before a kernel is fitted: the fewer pictures, the more is needed."""


def fit_kernel(
    conv: keras.Layer,
    inputs: NDArray[np.float32],
    wanted: NDArray[np.float32],
    *,
    rounded: Rounding | None,
) -> NDArray[np.float32]:
    """The kernel of `conv` that makes of `inputs` what its own makes of `wanted`, (N, H, W, C).

    `rounded`: in int8 steps, None for not at all. Symmetric, one scale for each output channel: its
    largest weight stays a whole number of steps ("plain": 127), so that a converter finds the same
    scale again. Depthwise kernels are never bounded. Offsets of the output do not count, correction
    makes up for them. Kernels of more than MOST_INPUTS weights a channel, or larger than their
    input, are not fitted, and rounded on their own.
    """
    kernel: Weights = np.asarray(keras.ops.convert_to_numpy(conv.kernel), np.float64)
    height, width, channels, last = kernel.shape
    depthwise = isinstance(conv, layers.DepthwiseConv2D)
    wide = not depthwise and height * width * channels > MOST_INPUTS
    if wide or inputs.shape[1] < height or inputs.shape[2] < width:
        alone = kernel if rounded is None else _alone(kernel, rounded, depthwise=depthwise)
        return np.asarray(alone, np.float32)
    weights: Weights = kernel.reshape(height * width, channels, last)
    seen = [_taps(each, height, width) for each in (inputs, wanted)]
    if depthwise:  # a problem of its own for each channel: (channels, taps, positions)
        weights = weights.swapaxes(0, 1)
        found, ideal = (np.ascontiguousarray(each.swapaxes(0, 1)) for each in seen)
    else:
        weights = weights.reshape(1, -1, last)
        found, ideal = (each.reshape(1, -1, each.shape[-1]) for each in seen)
    middle = found.shape[-1] // 2  # positions come picture by picture: two halves of the pictures
    halves = (slice(None, middle), slice(middle, None))
    powers = [_product(found[..., half], found[..., half]) for half in halves]
    lacks = [_product(found[..., half], (ideal - found)[..., half]) for half in halves]
    power, lack = (powers[0] + powers[1]) / 2, (lacks[0] + lacks[1]) / 2
    fitted = weights
    if (damping := _least_error(powers, lacks, weights)) is not None:
        fitted = weights + np.linalg.solve(_damped(power, damping), lack @ weights)
    if rounded is not None:
        inverse: Weights = np.asarray(np.linalg.inv(_damped(power, _DAMPING)), np.float64)
        steps: Weights = np.full((len(fitted), last), 127, np.float64)
        bounded = rounded == "bounded" and not depthwise
        if bounded:
            steps[0] = _steps(fitted.reshape(kernel.shape))
        fitted = _rounded(fitted, inverse, steps, bounded=bounded)
    if depthwise:
        fitted = fitted.swapaxes(0, 1)
    return np.asarray(fitted.reshape(kernel.shape), np.float32)


def _least_error(powers: list[Weights], lacks: list[Weights], weights: Weights) -> float | None:
    """The damping with which a fit to either half errs least on the other; None for no fit.

    A fit to few pictures follows their noise, and does harm on others.
    """
    best, least = None, 0.0
    for damping in _DAMPINGS:
        error = 0.0
        for one, other in ((0, 1), (1, 0)):
            change = np.linalg.solve(_damped(powers[one], damping), lacks[one] @ weights)
            # What the change adds to the squared error on the other half.
            error += (change * (powers[other] @ change - 2 * lacks[other] @ weights)).sum()
        if error < least:
            best, least = damping, error
    return best


def _damped(power: Weights, damping: float) -> Weights:
    """Add a share of the mean variance to each; a constant input gets 1, as any weight will do."""
    count = power.shape[-1]
    variance = power.trace(axis1=1, axis2=2) / count
    added = np.where(variance > 0, damping * variance, 1)
    return np.asarray(power + added[:, None, None] * np.eye(count), np.float64)


def _taps(inputs: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """What each weight of a kernel sees inside the pictures, less its mean: (taps, C, positions).

    At every position: a stride changes which are taken, not how they go together.
    """
    rows, columns = inputs.shape[1] - height + 1, inputs.shape[2] - width + 1
    total = len(inputs) * rows * columns
    chosen = np.arange(0, total, max(1, total * height * width // _POSITIONS))
    picture, row, column = np.unravel_index(chosen, (len(inputs), rows, columns))
    taps = np.stack(
        [inputs[picture, row + y, column + x].T for y in range(height) for x in range(width)]
    )
    taps -= taps.mean(-1, keepdims=True)
    return taps


def _product(one: NDArray[np.float32], other: NDArray[np.float32]) -> Weights:
    """Mean products over the positions, (groups, inputs, inputs)."""
    return np.asarray(one @ other.swapaxes(1, 2), np.float64) / max(1, one.shape[-1])


def _alone(kernel: Weights, rounding: Rounding, *, depthwise: bool) -> Weights:
    """A kernel (height, width, in, out), each channel rounded without regard to its inputs."""
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    rounded = round_bounded if rounding == "bounded" and not depthwise else round_plain
    scales, whole = rounded(kernel.transpose(order))
    return (whole * scales[:, None, None, None]).transpose(np.argsort(order))


def _steps(kernel: Weights) -> Weights:
    """How many steps the largest weight of each channel has in a bounded kernel, (out,)."""
    scales, _ = round_bounded(kernel.transpose(3, 2, 0, 1))
    return np.asarray(np.round(abs(kernel).max((0, 1, 2)) / scales), np.float64)


def _rounded(weights: Weights, inverse: Weights, steps: Weights, *, bounded: bool) -> Weights:
    """Round `weights`, (groups, inputs, outputs), one input after another.

    `inverse`: of the inputs' covariances, (groups, inputs, inputs). `steps`: of the largest weight,
    (groups, outputs). `bounded`: pairs of inputs keep to LARGEST_PAIR.
    """
    largest = abs(weights).max(1, keepdims=True)
    step = np.where(largest > 0, largest, 1) / steps[:, None]
    # One weight of each channel stays the largest.
    fixed = np.zeros_like(weights)
    place = abs(weights).argmax(1)[:, None]
    np.put_along_axis(
        fixed, place, np.sign(np.take_along_axis(weights, place, 1)) * steps[:, None], axis=1
    )
    # Row i of the upper Cholesky factor: what moving input i asks of those behind it.
    spread = np.linalg.cholesky(inverse).swapaxes(1, 2)
    left, whole = weights.copy(), fixed.copy()
    for index in range(weights.shape[1]):
        now, kept = left[:, index], fixed[:, index]
        nearest = np.round(now / step[:, 0]).clip(-steps, steps)
        if bounded and (partner := index ^ 1) < weights.shape[1]:
            # Behind this input only the fixed weight is known, and 0 stands for the others.
            other = whole[:, partner]
            room = np.where(nearest * other > 0, LARGEST_PAIR - abs(other), LARGEST_PAIR)
            nearest = nearest.clip(-room, room)
        whole[:, index] = np.where(kept, kept, nearest)
        error = (now - whole[:, index] * step[:, 0]) / spread[:, index, index, None]
        left[:, index + 1 :] -= spread[:, index, index + 1 :, None] * error[:, None]
    return whole * step
