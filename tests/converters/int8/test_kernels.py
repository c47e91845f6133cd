"""Weights rounded to int8, plain and bounded."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.int8.kernels import round_bounded, round_plain
from unet_edge.model_files.saturation import LARGEST_PAIR, in_pairs, largest_pair

SHAPES = ((16, 64, 1, 1), (8, 3, 3, 3), (4, 6, 3, 3), (4, 5, 1, 1))


@pytest.fixture(params=SHAPES, ids=str)
def kernel(request: pytest.FixtureRequest) -> NDArray[np.float32]:
    """Gaussian weights; trained weights are nearly Gaussian."""
    return np.random.default_rng(0).normal(0, 0.1, request.param).astype(np.float32)


def error(kernel: NDArray[np.float32], scales: NDArray[np.float64], integers: object) -> float:
    """The root mean square of the rounding error, relative to that of the weights."""
    restored = np.asarray(integers) * scales[:, None, None, None]
    return float(np.sqrt(((kernel - restored) ** 2).sum() / (kernel**2).sum()))


def test_plain_rounds_the_largest_weight_of_each_channel_to_127(
    kernel: NDArray[np.float32],
) -> None:
    scales, integers = round_plain(kernel)
    np.testing.assert_array_equal(np.abs(integers).max((1, 2, 3)), 127)
    # Rounding changes a weight by half a step at most, and float32 has 24 bits.
    restored = integers * scales[:, None, None, None]
    assert (np.abs(restored - kernel) <= scales[:, None, None, None] * 0.5001).all()


def test_bounded_kernels_cannot_saturate_and_keep_every_sign(
    kernel: NDArray[np.float32],
) -> None:
    _, integers = round_bounded(kernel)
    np.testing.assert_array_equal(integers, np.round(integers))
    assert np.abs(integers).max() <= 127
    assert largest_pair(integers.astype(np.int8)) <= LARGEST_PAIR
    assert (np.sign(integers) * np.sign(kernel) >= 0).all()


def test_bounded_is_closer_than_seven_bits(kernel: NDArray[np.float32]) -> None:
    # onnxruntime's reduce_range and NNCF's overflow_fix round to seven bits.
    scales = np.abs(kernel).max((1, 2, 3)) / 64
    seven_bits = error(kernel, scales, np.round(kernel / scales[:, None, None, None]))
    assert error(kernel, *round_bounded(kernel)) < seven_bits


def test_a_bounded_kernel_stays_the_same(kernel: NDArray[np.float32]) -> None:
    scales, integers = round_bounded(kernel)
    again = round_bounded((integers * scales[:, None, None, None]).astype(np.float32))
    np.testing.assert_array_equal(again[1], integers)
    np.testing.assert_allclose(again[0], scales, rtol=1e-6)  # float32 between the two


def test_without_a_large_pair_bounded_is_as_close_as_plain() -> None:
    kernel = np.zeros((2, 8, 1, 1), np.float32)
    kernel[:, ::2, 0, 0] = np.random.default_rng(1).normal(size=(2, 4))  # a pair has one weight
    assert error(kernel, *round_bounded(kernel)) <= error(kernel, *round_plain(kernel))


def test_both_weights_of_a_large_pair_are_reduced() -> None:
    # 64 + 64 is allowed; at the smallest scale, two equal weights are 127 + 127.
    kernel = np.array([[1.0, 1.0, 0.5, -0.5]], np.float32).reshape(1, 4, 1, 1)
    scales, integers = round_bounded(kernel)
    np.testing.assert_array_equal(integers.ravel(), [64, 64, 32, -32])
    np.testing.assert_allclose(scales, 1 / 64, rtol=0.01)


def test_sums_of_16_bits_are_right(kernel: NDArray[np.float32]) -> None:
    """VPMADDUBSW adds pairs in 16 bits with saturation, and then in 32 bits."""
    activations = np.random.default_rng(2).integers(0, 256, (100, kernel[0].size), np.uint8)
    activations[0] = 255
    if kernel[0].size % 2:
        activations = np.pad(activations, ((0, 0), (0, 1)))
    values = activations.reshape(100, 1, -1, 2).astype(np.int64)

    def saturated(integers: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        products = (in_pairs(integers).astype(np.int64)[None] * values).sum(-1)
        return products.sum(-1), products.clip(-32768, 32767).sum(-1)

    right, added = saturated(round_bounded(kernel)[1])
    np.testing.assert_array_equal(right, added)
    right, added = saturated(round_plain(kernel)[1])
    assert (right != added).any()


def test_a_channel_of_zeros_has_a_scale() -> None:
    scales, integers = round_bounded(np.zeros((2, 4, 1, 1), np.float32))
    assert (scales > 0).all()
    assert not integers.any()
