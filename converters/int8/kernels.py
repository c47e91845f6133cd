"""Round kernels to int8, with one scale for each output channel."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_edge.model_files.saturation import LARGEST_PAIR, in_pairs

Rounding = Literal["plain", "bounded"]
"""How kernels are rounded: "plain" as TFLite's converter does, "bounded" so that all sums fit into
16 bits on x86 without VNNI."""

_LARGEST = 127
_TRIED = range(127, 63, -1)
"""Steps of a channel's largest weight to choose from. With 64, no pair exceeds the bound."""


def round_plain(kernel: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round a kernel (out, in, height, width): scales (out,), and integers of -127 to 127."""
    scales = _smallest_scales(kernel)
    return scales, np.round(kernel / scales[:, None, None, None])


def round_bounded(kernel: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round a kernel as `round_plain`, so that no pair of one sign adds up to more than 128.

    Each channel gets the scale and the integers with the least squared error; a channel that was
    rounded before keeps its integers. Both weights of a pair that is too large are reduced by equal
    parts. The usual remedy is seven bits for every weight (`reduce_range` of ONNX Runtime,
    `overflow_fix` of NNCF). It costs more, because neighbours of one sign are rarely both large.
    """
    out, channels, height, width = kernel.shape
    pairs = np.asarray(in_pairs(kernel), np.float64)
    largest = _smallest_scales(kernel) * _LARGEST
    best_error = np.full(out, np.inf)
    best_scales, best = largest / _LARGEST, np.zeros_like(pairs)
    for steps in _TRIED:
        scales = largest / steps
        bounded = _bounded(np.round(pairs / scales[:, None, None]))
        error = ((pairs - bounded * scales[:, None, None]) ** 2).sum((1, 2))
        better = error < best_error
        best_error[better], best_scales[better], best[better] = (
            error[better], scales[better], bounded[better],
        )  # fmt: skip
    columns = best.reshape(out, -1)[:, : height * width * channels]
    return best_scales, columns.reshape(out, height, width, channels).transpose(0, 3, 1, 2)


def _smallest_scales(kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    largest = np.abs(kernel).max((1, 2, 3)).astype(np.float64)
    return np.where(largest > 0, largest, 1) / _LARGEST


def _bounded(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integers (out, pairs, 2) with the excess of each pair subtracted from both in equal parts."""
    sums = pairs.sum(-1)
    same_sign = pairs[..., 0] * pairs[..., 1] > 0
    excess = np.where(same_sign, np.maximum(np.abs(sums) - LARGEST_PAIR, 0), 0)
    # Neither weight changes its sign: the smaller one is larger than half of the excess.
    parts = np.stack([np.floor(excess / 2), np.ceil(excess / 2)], axis=-1)
    return pairs - np.sign(sums)[..., None] * parts
