"""Correction keeps the mean and the scale of every channel with int8 weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.int8.correction import correct_channels
from unet_edge.training.settings.network import Encoder, Network

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def corrected(trained: Any, calibration: list[Pictures]) -> Any:
    return correct_channels(trained, calibration[:8])


def rounded(model: Any) -> Any:
    """A copy whose kernels are rounded to 255 steps for each output channel."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            kernel = np.asarray(layer.kernel)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            step = abs(kernel).max((0, 1, 3) if depthwise else (0, 1, 2), keepdims=True) / 127
            layer.kernel.assign(np.round(kernel / step) * step)
    return copy


def mean_scores_after_rounding(model: Any, pictures: Pictures) -> NDArray[np.float64]:
    """Each class's mean logit after `rounded`."""
    logits = np.asarray(rounded(model).predict(pictures, verbose=0), np.float64)
    return logits.mean((0, 1, 2))


def test_the_mean_of_every_class_survives_rounding(
    trained: Any, corrected: Any, calibration: list[Pictures]
) -> None:
    pictures = np.stack(calibration[:8])
    expected = np.asarray(trained.predict(pictures, verbose=0), np.float64).mean((0, 1, 2))
    actual = mean_scores_after_rounding(corrected, pictures)
    # float32 sums over 32,768 pixels and 30 layers; without the correction 1e-2 and more.
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert abs(mean_scores_after_rounding(trained, pictures) - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenet_v2", "mobilenet_v3_small"])
def test_means_survive_residuals_gates_and_hard_swish(
    untrained: Callable[..., Any], calibration: list[Pictures], encoder: Encoder
) -> None:
    pictures = np.stack(calibration[:8])
    model = untrained(Network(encoder=encoder, alpha=0.75))
    expected = np.asarray(model.predict(pictures, verbose=0), np.float64).mean((0, 1, 2))
    corrected = correct_channels(model, list(pictures))
    actual = mean_scores_after_rounding(corrected, pictures)
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert abs(mean_scores_after_rounding(model, pictures) - expected).max() > 5e-4


def test_gains_lower_the_error_of_the_scores(
    trained: Any, corrected: Any, calibration: list[Pictures]
) -> None:
    """Correction fixes scaled channels too, not only shifted ones."""
    pictures = np.stack(calibration[:8])

    def error(model: Any) -> float:
        actual = rounded(model).predict(pictures, verbose=0)
        expected = trained.predict(pictures, verbose=0)
        return float(np.sqrt(((actual - expected) ** 2).mean()))

    # Corrected offsets with the original gains, which are wrong by a few percent.
    offsets_only = keras.models.clone_model(corrected)
    offsets_only.set_weights(corrected.get_weights())
    for layer in offsets_only.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(trained.get_layer(layer.name).gamma)
    assert error(corrected) < 0.8 * error(trained)
    assert error(corrected) < error(offsets_only)


def test_constant_channels_keep_their_value() -> None:
    """The mean of a constant channel, summed in float32 over so many pixels, is percents off."""
    pixels = keras.Input((None, None, 3))
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(pixels)
    normalisation = keras.layers.BatchNormalization()
    model = keras.Model(pixels, normalisation(x))
    keras.utils.set_random_seed(0)
    gamma, beta = np.array([0.0, 0.0, 1.0]), np.array([0.3, -1.7, 0.5])
    normalisation.set_weights([gamma, beta, np.zeros(3), np.full(3, 1e4)])
    pictures = np.random.default_rng(0).integers(0, 256, (24, 256, 256, 3), np.uint8)
    corrected = correct_channels(model, list(pictures)).layers[-1]
    np.testing.assert_array_equal(np.asarray(corrected.gamma)[:2], 0)
    np.testing.assert_allclose(np.asarray(corrected.beta)[:2], beta[:2], atol=1e-6)
    # The third channel varies: its gain compensates for at most half an int8 step of each weight.
    assert abs(np.asarray(corrected.gamma)[2] - 1) < 0.01


def test_only_biases_gains_and_offsets_change(trained: Any, calibration: list[Pictures]) -> None:
    before = [weight.copy() for weight in trained.get_weights()]
    corrected = correct_channels(trained, calibration[:2])
    assert all((a == b).all() for a, b in zip(before, trained.get_weights(), strict=True))
    changed = {
        new.path.split("/")[-1]
        for old, new in zip(trained.weights, corrected.weights, strict=True)
        if (np.asarray(old) != np.asarray(new)).any()
    }
    assert changed == {"gamma", "beta", "bias"}


def test_without_pictures_the_model_itself_is_returned(trained: Any) -> None:
    assert correct_channels(trained, []) is trained


def test_exact_weights_need_no_correction(calibration: list[Pictures]) -> None:
    pixels = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(2, 1)
    model = keras.Model(pixels, layer(pixels))
    layer.set_weights([np.array([[[[127, -127], [1, 5], [-64, 0]]]]) / 127, np.zeros(2)])
    corrected = correct_channels(model, calibration)
    # Rounding does not change these weights, up to float32: 1e-7 of pixels up to 255.
    np.testing.assert_allclose(corrected.get_weights()[1], 0, atol=255 * 3 * 1e-6)
