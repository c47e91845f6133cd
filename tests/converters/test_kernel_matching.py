"""Layers are found by their kernels, whatever a converter has folded into them."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.kernel_matching import match_kernels
from converters.layers import from_rows, kernel_axes, kernel_rows


def built(layer: Any, channels: int, seed: int) -> Any:
    layer.build((None, 16, 16, channels))
    layer.kernel.assign(np.random.default_rng(seed).normal(size=layer.kernel.shape))
    return layer


def convolutions() -> list[Any]:
    return [
        built(layers.Conv2D(6, 3, name="full"), 4, 0),
        built(layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"), 3, 1),
        built(layers.Conv2DTranspose(6, 3, name="transposed"), 4, 2),
        built(layers.Conv2D(6, 3, groups=2, name="grouped"), 8, 3),
    ]


def folded(layer: Any, seed: int) -> NDArray[np.float32]:
    """The layer's kernel with a factor for each output channel, one of them 0."""
    rows = kernel_rows(layer)
    factors = np.random.default_rng(seed).normal(size=(len(rows), 1, 1, 1))
    factors[0] = 0
    return (rows * factors).astype(np.float32)


def test_layers_are_found_in_any_order_with_batch_norm_folded_in() -> None:
    own = convolutions()
    kernels = [folded(own[index], seed=index) for index in (2, 0, 3, 1)]
    found = match_kernels(own, kernels)
    assert found == {"full": 1, "depthwise": 3, "transposed": 0, "grouped": 2}


def test_a_changed_kernel_has_no_layer_and_equal_kernels_keep_their_order() -> None:
    full, *_ = convolutions()
    twin = layers.Conv2D(6, 3, name="twin")
    twin.build((None, 16, 16, 4))
    twin.kernel.assign(full.kernel)
    kernel = kernel_rows(full)
    flipped = kernel[:, :, ::-1]
    assert match_kernels([full, twin], [flipped, kernel, kernel]) == {"full": 1, "twin": 2}


def test_a_kernel_is_made_again_from_its_rows_and_its_axes_hold_one_output_channel() -> None:
    for layer in convolutions():
        kernel, rows = np.asarray(layer.kernel), kernel_rows(layer)
        assert np.array_equal(from_rows(layer, rows), kernel)
        largest = abs(kernel).max(kernel_axes(layer)).ravel()
        assert np.array_equal(largest, abs(rows).max((1, 2, 3)))
