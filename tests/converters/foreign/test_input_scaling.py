"""The scalings of inputs that models of other training code expect."""

from __future__ import annotations

import pytest

from converters.foreign.input_scaling import INPUT_RANGES, InputScaling
from unet_edge.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("-1..1", (-1, -1, -1), (1, 1, 1)),
        ("0..1", (0, 0, 0), (1, 1, 1)),
        ("0..255", (0, 0, 0), (255, 255, 255)),
        # Red, green, blue of keras.applications.imagenet_utils.preprocess_input, which lists the
        # means of "caffe" as blue, green, red.
        ("caffe", (-123.68, -116.779, -103.939), (131.32, 138.221, 151.061)),
        ("imagenet", (-2.117904, -2.035714, -1.804444), (2.248908, 2.428571, 2.64)),
    ],
)
def test_a_named_range_maps_black_and_white_as_its_source_does(name, black, white):
    scaling = InputScaling.named(name)
    for pixel, values in ((0, black), (255, white)):
        scaled = [(pixel - m) / s for m, s in zip(scaling.mean, scaling.std, strict=True)]
        assert scaled == pytest.approx(values, abs=1e-5)


def test_only_caffe_takes_blue_first_unless_told():
    orders = {name: InputScaling.named(name).color_order for name in INPUT_RANGES}
    assert [name for name, order in orders.items() if order == "bgr"] == ["caffe"]
    assert InputScaling.named("caffe", "rgb").color_order == "rgb"
    assert InputScaling.named("0..1", "bgr").color_order == "bgr"


def test_means_are_parsed_red_first_or_one_for_all():
    scaling = InputScaling.parse("123.7, 116.8,103.9", "2", "bgr")
    assert scaling == InputScaling((123.7, 116.8, 103.9), (2, 2, 2), "bgr")
    assert str(scaling) == "(pixel - (123.7, 116.8, 103.9)) / 2, channels blue, green, red"


@pytest.mark.parametrize(
    ("mean", "std"), [("1,2", "1"), ("grey", "1"), ("1", "0"), ("1", "1,1,-1"), ("nan", "1")]
)
def test_other_numbers_are_refused(mean, std):
    with pytest.raises(ConfigError):
        InputScaling.parse(mean, std)


def test_an_unknown_range_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"-1\.\.1, 0\.\.1, 0\.\.255, caffe, imagenet"):
        InputScaling.named("0..2")
