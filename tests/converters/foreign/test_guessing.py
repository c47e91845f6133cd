"""When a guessed contract is clearly best, and when it is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.foreign.guessing import candidates, judge, require_guess, scaled, with_guess
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import InputScaling
from unet_edge.errors import ConversionError

RIGHT, WRONG, GREY = ("0..1", "rgb"), ("-1..1", "rgb"), ("0..1", "bgr")


def counts(*hits: int) -> Any:
    """Confusions of pictures of 100 px, 40 of them of class 1, of which `hits` are found."""
    return np.array([[[60, 0], [40 - each, each]] for each in hits], np.int64)


def test_a_lead_on_every_picture_is_clear() -> None:
    guess = judge({WRONG: counts(20, 25, 22, 21), RIGHT: counts(39, 38, 40, 39)})
    assert guess.best.range == "0..1"
    assert guess.doubt is None
    assert guess.confidence == 1
    # Over all pictures: 156 of 160 pixels found, and 4 more called background.
    assert guess.best.miou == pytest.approx((240 / 244 + 156 / 160) / 2)
    assert require_guess(guess) == guess.best


def test_a_lead_on_one_picture_of_four_is_luck() -> None:
    guess = judge({RIGHT: counts(40, 30, 30, 30), WRONG: counts(20, 31, 31, 31)})
    assert guess.best.range == "0..1"
    assert guess.lead > 0.01
    # The lucky picture is missing from (3/4)^4 = 32 % of the draws; the standard error of 1,000
    # draws is 1.5 points.
    assert guess.confidence == pytest.approx(1 - 0.75**4, abs=0.06)
    with pytest.raises(ConversionError, match="no contract is clearly best"):
        require_guess(guess)


def test_a_lead_below_a_point_is_rounding() -> None:
    guess = judge({RIGHT: counts(39, 39, 39, 39), WRONG: counts(39, 39, 39, 38)})
    assert 0 < guess.lead < 0.01
    assert guess.doubt is not None


def test_equal_colour_orders_are_named() -> None:
    guess = judge({RIGHT: counts(39, 39, 38, 40), GREY: counts(39, 39, 38, 40)})
    assert guess.lead == 0
    assert "grey pictures do not tell the colour orders apart" in str(guess.doubt)


def test_no_better_than_one_class_everywhere() -> None:
    guess = judge({RIGHT: counts(0, 0, 0, 0), WRONG: counts(0, 0, 0, 0) * [[[0], [1]]]})
    # 60 of 100 pixels are background, and its IoU is 0.6; that of class 1 is 0.
    assert guess.constant == pytest.approx(0.3)
    assert "no better than a mask of one class everywhere, 0.3000" in str(guess.doubt)


def test_a_given_range_or_order_is_the_only_one() -> None:
    assert len(candidates(None, None)) == 10
    assert list(candidates("caffe", None)) == [("caffe", "rgb"), ("caffe", "bgr")]
    assert [key[1] for key in candidates(None, "bgr")] == ["bgr"] * 5


def test_pixels_are_scaled_and_then_turned() -> None:
    pixels = np.array([[[124, 117, 104]]], np.uint8)
    for order, expected in (("rgb", (0.32, 0.221, 0.061)), ("bgr", (0.061, 0.221, 0.32))):
        value = scaled(pixels, InputScaling.named("caffe", order))  # type: ignore[arg-type]
        assert value.dtype == np.float32
        np.testing.assert_allclose(value[0, 0], expected, atol=1e-6)


def test_the_settings_take_the_guess_and_no_longer_assume_the_order() -> None:
    settings = ImportSettings(
        classes=("a", "b"), scaling=InputScaling.named("0..255"), range_name=None, name="m",
        assumed=("--color-order rgb", "--fit stretch"),
    )  # fmt: skip
    guess = judge({WRONG: counts(20, 25, 22, 21), GREY: counts(39, 38, 40, 39)})
    taken = with_guess(settings, guess.best)
    assert taken.scaling == InputScaling.named("0..1", "bgr")
    assert (taken.range_name, taken.assumed) == ("0..1", ("--fit stretch",))
