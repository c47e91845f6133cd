"""Weights rounded to int8, one scale for each output channel."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_edge.model_files.saturation import LARGEST_PAIR, in_pairs

Rounding = Literal["plain", "bounded"]
"""How the kernels of a file are rounded: "plain" as TFLite's converter does it, "bounded" so that
no sum leaves 16 bits on x86 without VNNI."""

_LARGEST = 127
_TRIED = range(127, 63, -1)
"""How many steps the largest weight of a channel may have. At 64 no pair is too large."""


def round_plain(kernel: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scales (out,) and whole numbers, -127 to 127, of a kernel (out, in, height, width)."""
    scales = _smallest_scales(kernel)
    return scales, np.round(kernel / scales[:, None, None, None])


def round_bounded(kernel: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `round_plain`, but no two neighbours of one sign add up to more than 128.

    Each channel gets the scale and the whole numbers that are closest to it by least squares: one
    that was rounded so before keeps them. Pairs that are too large are cut by equal parts. That
    costs less than the usual remedy, seven bits for every weight (`reduce_range` of ONNX Runtime,
    `overflow_fix` of NNCF): large weights of one sign are seldom neighbours.
    """
    out, channels, height, width = kernel.shape
    pairs = np.asarray(in_pairs(kernel), np.float64)
    largest = _smallest_scales(kernel) * _LARGEST
    best_error = np.full(out, np.inf)
    best_scales, best = largest / _LARGEST, np.zeros_like(pairs)
    for steps in _TRIED:
        scales = largest / steps
        cut = _cut(np.round(pairs / scales[:, None, None]))
        error = ((pairs - cut * scales[:, None, None]) ** 2).sum((1, 2))
        better = error < best_error
        best_error[better], best_scales[better], best[better] = (
            error[better], scales[better], cut[better],
        )  # fmt: skip
    columns = best.reshape(out, -1)[:, : height * width * channels]
    return best_scales, columns.reshape(out, height, width, channels).transpose(0, 3, 1, 2)


def _smallest_scales(kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    largest = np.abs(kernel).max((1, 2, 3)).astype(np.float64)
    return np.where(largest > 0, largest, 1) / _LARGEST


def _cut(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole numbers (out, pairs, 2) with what is too much taken off both of a pair."""
    sums = pairs.sum(-1)
    same_sign = pairs[..., 0] * pairs[..., 1] > 0
    excess = np.where(same_sign, np.maximum(np.abs(sums) - LARGEST_PAIR, 0), 0)
    # Neither changes its sign: the smaller one is at least the excess above 127.
    parts = np.stack([np.floor(excess / 2), np.ceil(excess / 2)], axis=-1)
    return pairs - np.sign(sums)[..., None] * parts
