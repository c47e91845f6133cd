"""Correction: mean and scale of every channel survive int8 weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.correction import correct_channels
from unet_edge.training.encoders import Encoder
from unet_edge.training.models import Network

Pictures = NDArray[np.uint8]


def mean_scores_after_rounding(model: Any, pictures: Pictures) -> NDArray[np.float64]:
    """Each class's mean logit when every kernel has 255 steps per output channel."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            kernel = np.asarray(layer.kernel)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            step = abs(kernel).max((0, 1, 3) if depthwise else (0, 1, 2), keepdims=True) / 127
            layer.kernel.assign(np.round(kernel / step) * step)
    logits = np.asarray(copy.predict(pictures, verbose=0), np.float64)
    return logits.mean((0, 1, 2))


def test_the_mean_of_every_class_survives_rounding(
    trained: Any, calibration: list[Pictures]
) -> None:
    pictures = np.stack(calibration[:8])
    wanted = np.asarray(trained.predict(pictures, verbose=0), np.float64).mean((0, 1, 2))
    corrected = correct_channels(trained, list(pictures))
    found = mean_scores_after_rounding(corrected, pictures)
    # float32 sums over 32,768 pixels and 30 layers; without the correction 1e-2 and more.
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert abs(mean_scores_after_rounding(trained, pictures) - wanted).max() > 1e-3


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "mobilenet_v3_small"])
def test_means_survive_residuals_gates_and_hard_swish(
    untrained: Callable[..., Any], calibration: list[Pictures], encoder: Encoder
) -> None:
    pictures = np.stack(calibration[:8])
    model = untrained(Network(encoder=encoder, alpha=0.75))
    wanted = np.asarray(model.predict(pictures, verbose=0), np.float64).mean((0, 1, 2))
    corrected = correct_channels(model, list(pictures))
    found = mean_scores_after_rounding(corrected, pictures)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert abs(mean_scores_after_rounding(model, pictures) - wanted).max() > 5e-4


def test_only_biases_gains_and_offsets_change(trained: Any, calibration: list[Pictures]) -> None:
    before = [weight.copy() for weight in trained.get_weights()]
    corrected = correct_channels(trained, calibration)
    assert all((a == b).all() for a, b in zip(before, trained.get_weights(), strict=True))
    changed = {
        new.path.split("/")[-1]
        for old, new in zip(trained.weights, corrected.weights, strict=True)
        if (np.asarray(old) != np.asarray(new)).any()
    }
    assert changed == {"gamma", "beta", "bias"}


def test_without_pictures_nothing_happens(trained: Any) -> None:
    assert correct_channels(trained, []) is trained


def test_exact_weights_need_no_correction(calibration: list[Pictures]) -> None:
    pixels = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(2, 1)
    model = keras.Model(pixels, layer(pixels))
    layer.set_weights([np.array([[[[127, -127], [1, 5], [-64, 0]]]]) / 127, np.zeros(2)])
    corrected = correct_channels(model, calibration)
    # Rounding leaves these weights where they are, up to float32: 1e-7 of pixels up to 255.
    np.testing.assert_allclose(corrected.get_weights()[1], 0, atol=255 * 3 * 1e-6)
