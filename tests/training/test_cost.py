"""Multiply-accumulates, counted by hand and as published."""

import keras
import pytest

from unet_edge.spec import Normalisation
from unet_edge.training.cost import multiply_accumulates
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network


def test_convolutions_are_counted_as_by_hand():
    pixels = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(pixels)  # 20x30 places
    x = keras.layers.DepthwiseConv2D(5, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.Conv2D(6, 1, groups=2)(x)  # each output sees half of the 8 channels
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)  # 40x60
    x = keras.layers.Conv2D(2, 3)(x)  # without padding: 38x58
    by_hand = (
        20 * 30 * (3 * 3 * 3 * 8)
        + 20 * 30 * (5 * 5 * 8)
        + 20 * 30 * (4 * 6)
        + 38 * 58 * (9 * 6 * 2)
    )
    assert multiply_accumulates(keras.Model(pixels, x), 40, 60) == by_hand


def test_squeeze_and_excitation_counts_once_a_picture():
    pixels = keras.Input((None, None, 3))
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(pixels)
    gate = keras.layers.Conv2D(3, 1)(gate)
    model = keras.Model(pixels, keras.layers.Multiply()([pixels, gate]))
    assert multiply_accumulates(model, 64, 64) == 3 * 3


def test_mobilenets_cost_as_much_as_in_their_papers():
    # V2 1.0 at 224: 300 M in the paper, 1.28 M of them in the classifier that is left out.
    model = keras.applications.MobileNetV2((224, 224, 3), include_top=False, weights=None)
    assert multiply_accumulates(model, 224, 224) == pytest.approx(299e6, rel=0.01)


@pytest.mark.parametrize(
    ("network", "giga"),
    [
        # The tutorial's full-resolution head: 10.3 GMAC, 95 % of it in the decoder.
        (Network(decoder="dense"), 10.26),
        (Network(), 0.749),
        (Network(alpha=0.25), 0.0572),
        (Network("unet_mini"), 5.596),
        (Network(encoder="mobilenet_v2"), 0.509),
        (Network(encoder="mobilenet_v3_small"), 0.211),
        (Network(encoder="mobilenet_v3_large"), 0.420),
    ],
    ids=str,
)
def test_the_networks_cost_at_224_px(network, giga):
    model = build(network, 2, Normalisation())
    assert multiply_accumulates(model, 224, 224) == pytest.approx(giga * 1e9, rel=0.002)


def test_a_size_off_the_stride_is_refused():
    with pytest.raises(ValueError, match="matching shapes"):
        multiply_accumulates(build(Network(alpha=0.25), 2, Normalisation()), 40, 40)
