"""Which int8 kernels have pairs of products whose sum may exceed 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from int8_onnx import int8_onnx

from unet_edge.model_files.onnx_graph import read_onnx
from unet_edge.model_files.saturation import LARGEST_PAIR, can_saturate, in_pairs, largest_pair


def kernel(*weights: int, channels: int = 2) -> np.ndarray:
    """One output channel; weights run through the input channels, then through the columns."""
    return np.array(weights, np.int8).reshape(1, 1, -1, channels).transpose(0, 3, 1, 2)


def test_the_limit_is_what_fits_16_bits() -> None:
    limits = np.iinfo(np.int16)
    assert 255 * LARGEST_PAIR <= limits.max < 255 * (LARGEST_PAIR + 1)
    assert -255 * LARGEST_PAIR >= limits.min > -255 * (LARGEST_PAIR + 1)


@pytest.mark.parametrize(
    ("weights", "largest"),
    [
        ((100, 28, 0, 0), 128),
        ((100, 29, 0, 0), 129),
        ((-100, -29, 0, 0), 129),
        ((127, -127, 0, 0), 127),  # opposite signs cancel
        ((0, 127, 127, 0), 127),  # neighbours in different pairs
        ((1, 2, -3, -4), 7),
    ],
)
def test_the_largest_pair_of_one_sign(weights: tuple[int, ...], largest: int) -> None:
    assert largest_pair(kernel(*weights)) == largest
    assert can_saturate(kernel(*weights)) == (largest > 128)


def test_pairs_run_through_the_channels_and_then_to_the_next_column() -> None:
    odd = np.arange(1, 10, dtype=np.int8)  # three channels, three columns
    np.testing.assert_array_equal(
        in_pairs(kernel(*odd, channels=3))[0], [(1, 2), (3, 4), (5, 6), (7, 8), (9, 0)]
    )


def test_depthwise_kernels_never_saturate() -> None:
    assert not can_saturate(np.full((8, 1, 3, 3), 127, np.int8))


def test_saturation_is_read_from_a_file() -> None:
    small = np.full((4, 4, 1, 1), 64, np.int8)
    large = small.copy()
    large[3, 2] = 65  # the last pair: 65 + 64
    assert not read_onnx(int8_onnx(small)).can_saturate
    assert read_onnx(int8_onnx(large)).can_saturate
