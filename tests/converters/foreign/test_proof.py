"""The proof of rewrites: it passes over rounding and names a rewrite that is wrong."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from converters.foreign.canonical import translate
from converters.foreign.flatten import flatten
from converters.foreign.input_scaling import InputScaling
from converters.foreign.pixel_scale import PixelScale
from converters.foreign.proof import Proof, check, probe
from unet_edge.errors import ConversionError

SIZE = (16, 24)
UNIT = InputScaling.named("0..1")


def test_a_step_with_a_wrong_weight_is_named():
    pixels = keras.Input((*SIZE, 3))
    scores = layers.SeparableConv2D(2, 3, name="broken")(layers.Conv2D(4, 3)(pixels))
    flat = flatten(keras.Model(pixels, scores))
    (output,) = flat.outputs.values()
    translation = translate(flat, output, UNIT, SIZE)
    scaled = PixelScale.of(UNIT).of_pixels(probe(SIZE))
    assert max(Proof(flat, output, translation, scaled).differences.values()) < 1e-12
    translation.step(output).weights[0] *= 1.001
    with pytest.raises(ConversionError, match=r"separable convolutions .*: broken"):
        Proof(flat, output, translation, scaled)


def test_a_difference_of_float32_rounding_passes_and_a_larger_one_does_not():
    right = np.linspace(-4, 4, 9)
    assert check(right.astype(np.float32), right, "nothing") == 0
    assert check(right * (1 + 2.0**-20), right, "rounding") > 0
    with pytest.raises(ConversionError, match="constants"):
        check(right * (1 + 2.0**-10), right, "constants")
    with pytest.raises(ConversionError, match="by nan"):
        check(np.full(9, np.nan), right, "nan")


@pytest.mark.parametrize("size", [SIZE, (208, 176)])
def test_the_pictures_of_a_proof_hold_extremes_and_no_two_channels_alike(size):
    pictures = probe(size)
    assert pictures.shape[1:] == (*size, 3)
    assert pictures.dtype == np.uint8
    assert (pictures.min(), pictures.max()) == (0, 255)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (pictures[..., one] != pictures[..., other]).mean() > 0.5
