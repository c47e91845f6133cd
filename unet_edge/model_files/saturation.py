"""Whether sums of an int8 kernel fit into the 16 bits in which some processors add them.

On x86 without VNNI, ONNX Runtime multiplies uint8 activations with int8 weights by VPMADDUBSW. That
instruction adds two neighbouring products in 16 bits and saturates: 255 * 127 + 255 * 127 = 64770
becomes 32767, and the mask changes. Other processors add in 32 bits.
https://github.com/microsoft/onnxruntime/issues/5849
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST_PAIR = 128
"""Largest allowed sum of two neighbouring weights of one sign: 255 * 128 <= 32767 < 255 * 129."""


def in_pairs(kernel: NDArray[np.generic]) -> NDArray[np.generic]:
    """Arrange a kernel (out, in, height, width) in the pairs that are added: (out, pairs, 2).

    ONNX Runtime turns a convolution into a matrix. Its columns run through the channels of one
    position of the kernel, then through those of the next. A last odd column is paired with 0.
    """
    columns = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
    if columns.shape[1] % 2:
        columns = np.pad(columns, ((0, 0), (0, 1)))
    return columns.reshape(len(kernel), -1, 2)


def largest_pair(kernel: NDArray[np.int8]) -> int:
    """The largest absolute sum of two neighbouring weights of one sign.

    `kernel` is int8 (out, in, height, width).
    """
    pairs = in_pairs(kernel).astype(np.int16)
    positive = np.maximum(pairs, 0).sum(-1).max(initial=0)
    negative = np.minimum(pairs, 0).sum(-1).min(initial=0)
    return int(max(positive, -negative))


def can_saturate(kernel: NDArray[np.int8], groups: int) -> bool:
    """Whether sums of an int8 kernel (out, in / groups, height, width) may exceed 16 bits.

    Depthwise convolutions with one kernel for each channel cannot: ONNX Runtime adds their products
    in 32 bits everywhere. With several kernels for a channel they can, like any other group.
    """
    depthwise = kernel.shape[1] == 1 and groups == len(kernel)
    return not depthwise and largest_pair(kernel) > LARGEST_PAIR
