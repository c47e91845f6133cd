"""Find the Keras layers of the convolutions in a converted graph, by their kernels.

Converters rename and reorder convolutions, and some names disappear. But a kernel keeps its
direction: what is folded into a convolution, such as BatchNorm, multiplies all weights of an output
channel by one factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from converters.layers import kernel_rows

_LEAST_COSINE = 0.9999
"""The least cosine of the angle between two kernels of an output channel that count as equal.

Folding rounds each weight to float32. Kernels of different layers are far below.
"""


def match_kernels(
    layers: Sequence[keras.Layer], kernels: Sequence[NDArray[np.float32]]
) -> dict[str, int]:
    """The position in `kernels` of each layer's kernel, by the layer's name, in `layers`' order.

    `kernels`: float32 (out, in, height, width). Of equal kernels, the first belongs to the first
    layer. A layer whose kernel is not found has no entry.
    """
    free = dict(enumerate(map(_directions, kernels)))
    found: dict[str, int] = {}
    for layer in layers:
        own = _directions(kernel_rows(layer))
        index = next((index for index, other in free.items() if _equal(own, other)), None)
        if index is not None:
            found[layer.name] = index
            del free[index]
    return found


def _directions(kernel: NDArray[np.float32]) -> NDArray[np.float64]:
    """The kernel with each output channel scaled to length 1; a channel of zeros stays."""
    values = np.asarray(kernel, np.float64)
    length = np.sqrt((values**2).sum((1, 2, 3), keepdims=True))
    return np.asarray(values / np.where(length > 0, length, 1), np.float64)


def _equal(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two kernels are equal up to a factor for each output channel."""
    if first.shape != second.shape:
        return False
    cosines = abs((first * second).sum((1, 2, 3)))
    # Folding multiplies a channel by 0 where BatchNorm's gain is 0.
    zero = ~(first.any((1, 2, 3)) & second.any((1, 2, 3)))
    return bool((zero | (cosines > _LEAST_COSINE)).all())
