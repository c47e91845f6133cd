from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unet_edge.errors import BundleError
from unet_edge.evaluation.diagnosis import Diagnosis, diagnose, heat_map
from unet_edge.masks.boundary import boundary_band
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(8, 8, ("a", "b"))


class Fixed:
    """A backend with fixed scores: logits, or integers with `quantisation`."""

    name = "fixed"

    def __init__(self, difference: Any, quantisation: tuple[float, int] | None = None) -> None:
        half = np.broadcast_to(np.asarray(difference, np.float32), (8, 8)) / 2
        logits = np.stack([-half, half], -1)
        self.quantisation = quantisation
        if quantisation:
            scale, zero_point = quantisation
            logits = (np.round(logits / scale) + zero_point).astype(np.uint8)
        self._scores = logits

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return self._scores


def segmenter(difference: Any, **settings: Any) -> Segmenter:
    return Segmenter(SPEC, Fixed(difference, **settings), "model")


PICTURE = np.zeros((8, 8, 3), np.uint8)


def halves(left: float, right: float) -> NDArray[np.float32]:
    """Differences of the two scores: `left` before column 4, `right` from there on."""
    return np.where(np.arange(8) < 4, left, right)[None].repeat(8, 0).astype(np.float32)


def test_flips_at_near_ties_are_counted_apart() -> None:
    expected = halves(-5.0, 5.0)
    expected[0, 0] = -0.1  # probabilities 0.525 and 0.475: 0.05 apart, a near tie
    expected[1, 0] = -0.3  # 0.574 and 0.426: 0.149 apart, not a near tie
    actual = expected.copy()
    actual[0, 0], actual[1, 0] = 0.1, 0.1
    (picture,) = diagnose(segmenter(expected), segmenter(actual), [("p", PICTURE)]).pictures
    assert (picture.pixels, picture.flipped) == (64, 2)
    assert (picture.near_ties, picture.flipped_near_ties) == (1, 1)
    # The second pixel has the largest shift: from 0.4256 to 0.5250.
    assert picture.largest_shift == pytest.approx(0.0994, abs=1e-4)


def test_shares_are_over_all_pixels_of_all_pictures() -> None:
    expected, actual = halves(-5, 5), halves(-5, 5)
    actual[0, :2] = 1.0
    diagnosis = diagnose(segmenter(expected), segmenter(actual), [("p", PICTURE), ("q", PICTURE)])
    figures = diagnosis.figures()
    assert figures["pixels"] == 128
    assert figures["flipped"] == figures["confident_flips"] == 4
    assert figures["agreement"] == pytest.approx(1 - 4 / 128)
    assert figures["near_tie_share"] == 0
    assert math.isnan(figures["agreement_at_near_ties"])
    # 8x8 px: with a tolerance of 0.0085 px, the band is columns 3 and 4, beside the border.
    assert figures["band_share"] == 2 / 8
    assert figures["agreement_inside_band"] == 1
    assert figures["agreement_outside_band"] == pytest.approx(1 - 4 / (128 * 6 / 8))


def test_the_worst_picture_comes_first() -> None:
    good = diagnose(segmenter(1.0), segmenter(1.0), [("good", PICTURE)]).pictures
    bad = diagnose(segmenter(1.0), segmenter(-1.0), [("bad", PICTURE)]).pictures
    assert [p.name for p in Diagnosis("r", "c", good + bad).worst_first] == ["bad", "good"]


def test_integers_are_converted_to_logits_first() -> None:
    # 2 and -2 are 128 +- 20 steps of 0.1: no label and no probability changes.
    integers = segmenter(halves(-4, 4), quantisation=(0.1, 128))
    (picture,) = diagnose(segmenter(halves(-4, 4)), integers, [("p", PICTURE)]).pictures
    assert picture.flipped == 0
    assert picture.largest_shift == pytest.approx(0, abs=1e-6)


def test_different_contracts_and_no_picture_are_refused() -> None:
    other = segmenter(1.0)
    other.spec = dataclasses.replace(SPEC, classes=("a", "c"))
    with pytest.raises(BundleError, match="different contracts"):
        diagnose(segmenter(1.0), other, [("p", PICTURE)])
    with pytest.raises(BundleError, match="no picture"):
        diagnose(segmenter(1.0), segmenter(1.0), [])


def test_the_heat_map_marks_flips_at_near_ties_blue_and_others_red() -> None:
    expected = halves(-5.0, 5.0)
    expected[0, 0] = -0.1
    actual = expected.copy()
    actual[0, 0], actual[7, 7] = 0.1, -5.0
    sheet = np.array(heat_map(segmenter(expected), segmenter(actual), PICTURE, "p"))
    colors = {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    assert (0, 90, 200) in colors
    assert (200, 30, 0) in colors
    assert (255, 255, 0) in colors  # a shift of 0.99 is above the end of the ramp
    assert (sheet == (200, 30, 0)).all(-1).sum() == 1


def test_the_band_is_the_pixels_near_a_border() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 1
    # The border's pixels are the centre and its four neighbours.
    assert boundary_band(labels, 0).sum() == 5
    # One px further in a straight line: the disk of radius 2 around the centre, 13 pixels.
    assert boundary_band(labels, 1).sum() == 13
    assert not boundary_band(np.zeros((9, 9), np.uint8), 5).any()
