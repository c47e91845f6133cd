"""Which int8 kernels have pairs of products whose sum may exceed 16 bits."""

from __future__ import annotations

import numpy as np
import onnxruntime
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
    assert can_saturate(kernel(*weights), groups=1) == (largest > 128)


def test_pairs_run_through_the_channels_and_then_to_the_next_column() -> None:
    odd = np.arange(1, 10, dtype=np.int8)  # three channels, three columns
    np.testing.assert_array_equal(
        in_pairs(kernel(*odd, channels=3))[0], [(1, 2), (3, 4), (5, 6), (7, 8), (9, 0)]
    )


@pytest.mark.parametrize(
    ("shape", "groups", "largest"),
    [
        ((8, 8, 1, 1), 1, 64),
        ((8, 2, 3, 3), 4, 64),
        ((8, 1, 3, 3), 1, 64),  # all of one channel
        ((16, 1, 3, 3), 8, 64),  # two kernels for each channel
        ((8, 1, 3, 3), 8, 127),  # depthwise: added in 32 bits everywhere
        ((8, 1, 5, 5), 8, 127),
    ],
)
def test_sums_are_right_on_this_processor_up_to_the_bound(
    shape: tuple[int, ...], groups: int, largest: int
) -> None:
    weights = np.full(shape, largest, np.int8)
    assert not can_saturate(weights, groups)
    assert can_saturate(weights + np.int8(1 if largest < 127 else 0), groups) == (largest < 127)
    file = int8_onnx(weights, groups, step=64)
    assert not read_onnx(file).can_saturate
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    pixels = np.full((1, 8, 8, shape[1] * groups), 255, np.uint8)
    (scores,) = session.run(None, {"pixels": pixels})
    # Of the largest pixels, a sum is 255 times that of the weights; saturated pairs give half.
    expected = largest * np.prod(shape[1:])
    assert abs(scores - expected).max() <= 64 / 2


def test_saturation_is_read_from_a_file() -> None:
    small = np.full((4, 4, 1, 1), 64, np.int8)
    large = small.copy()
    large[3, 2] = 65  # the last pair: 65 + 64
    assert not read_onnx(int8_onnx(small)).can_saturate
    assert read_onnx(int8_onnx(large)).can_saturate
    one_channel = np.full((4, 1, 3, 3), 127, np.int8)
    assert read_onnx(int8_onnx(one_channel)).can_saturate
    assert not read_onnx(int8_onnx(one_channel, groups=4)).can_saturate
