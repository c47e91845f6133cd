"""Arrays as OpenCV and picamera2 give them: the same mask as of the picture that they show."""

import cv2
import numpy as np
import pytest
from paths import SMALL_BUNDLE
from patterns import pattern

from unet_edge.runtime.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.open(SMALL_BUNDLE, file="model-float32.onnx", threads=1)


@pytest.fixture(scope="module")
def picture():
    return pattern(90, 60)


@pytest.fixture(scope="module")
def labels(segmenter, picture):
    labels = segmenter.segment(picture).labels
    swapped = segmenter.segment(np.ascontiguousarray(picture[..., ::-1])).labels
    assert not np.array_equal(labels, swapped)  # else a wrong order would go unnoticed
    return labels


def test_opencv_arrays_are_bgr(segmenter, picture, labels, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), picture[..., ::-1])
    frame = cv2.imread(str(tmp_path / "photo.png"))
    assert np.array_equal(segmenter.segment(frame, color_order="bgr").labels, labels)


def test_opencv_arrays_of_four_channels_are_bgra_without_meaning_in_the_last(
    segmenter, picture, labels
):
    frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGRA)
    frame[..., 3] = 0  # as screens and cameras leave it
    assert np.array_equal(segmenter.segment(frame, color_order="bgrx").labels, labels)


def test_picamera2_rgb888_is_bgr_and_bgr888_is_rgb_with_padded_rows(segmenter, picture, labels):
    # picamera2 names formats as libcamera does, by the bytes of a little-endian word: the first
    # byte of "RGB888" is blue. Rows may be padded, here to a multiple
    # of 64 bytes.
    rows, width = picture.shape[:2]
    stride = -(-3 * width // 64) * 64
    assert stride > 3 * width
    for order, channels in (("bgr", picture[..., ::-1]), ("rgb", picture)):
        buffer = np.full((rows, stride), 77, np.uint8)
        buffer[:, : 3 * width] = channels.reshape(rows, -1)
        array = buffer[:, : 3 * width].reshape(rows, width, 3)
        assert np.array_equal(segmenter.segment(array, color_order=order).labels, labels)


def test_a_slice_of_padded_rows_of_xrgb8888_needs_no_copy(segmenter, picture, labels):
    # "XRGB8888" is B, G, R, X in memory, picamera2's default of a preview.
    padded = np.zeros((60, 96, 4), np.uint8)
    padded[:, :90, :3] = picture[..., ::-1]
    array = padded[:, :90]
    assert not array.flags.c_contiguous
    assert np.array_equal(segmenter.segment(array, color_order="bgrx").labels, labels)
