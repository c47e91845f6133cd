from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.int8.fine_tuning import fine_tune
from converters.tflite.conversion import to_tflite
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]
Run = Callable[[bytes, Pictures], Logits]


@pytest.fixture(scope="module")
def small() -> Any:
    """A network of few layers, with every kind of tensor that is rounded in a large one."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    pixels = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(3, 1, name="logits_half")(x)
    return keras.Model(pixels, layers.UpSampling2D(2, interpolation="bilinear", name="logits")(x))


@pytest.mark.slow
def test_a_model_that_int8_ruins_is_repaired(
    hard: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    pictures: Pictures,
    run_tflite: Run,
) -> None:
    expected = np.asarray(hard.predict(pictures, verbose=0)).argmax(-1)

    def disagreement(model: Any) -> float:
        data = to_tflite(model, spec, "int8", calibration, float_layers=())
        return float((run_tflite(data, pictures).argmax(-1) != expected).mean())

    before = disagreement(hard)
    assert before > 0.1
    assert disagreement(fine_tune(hard, hard, calibration, steps=100)) < before / 2


def test_moving_statistics_stay(small: Any, calibration: list[Pictures]) -> None:
    tuned = fine_tune(small, small, calibration, steps=3)
    # A step of Adam is at most its rate, which is at most 1e-3.
    moved = [
        abs(after - before).max()
        for after, before in zip(tuned.get_weights(), small.get_weights(), strict=True)
    ]
    assert 0 < max(moved) <= 3 * 1e-3
    for layer, twin in zip(small.layers, tuned.layers, strict=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            assert np.array_equal(layer.moving_mean, twin.moving_mean)
            assert np.array_equal(layer.moving_variance, twin.moving_variance)


def test_the_model_itself_does_not_change_and_a_seed_repeats(
    small: Any, calibration: list[Pictures]
) -> None:
    before = small.get_weights()
    first, second, other_seed = (
        fine_tune(small, small, calibration, steps=2, seed=seed).get_weights() for seed in (0, 0, 1)
    )
    assert all(map(np.array_equal, before, small.get_weights()))
    assert all(map(np.array_equal, first, second))
    assert not all(map(np.array_equal, first, other_seed))


def test_layers_that_stay_in_float_are_not_rounded(small: Any, calibration: list[Pictures]) -> None:
    names = [layer.name for layer in small.layers]
    rounded = fine_tune(small, small, calibration, steps=1)
    in_float = fine_tune(small, small, calibration, steps=1, float_layers=names)
    assert not all(map(np.array_equal, rounded.get_weights(), in_float.get_weights()))


def test_no_pictures_or_no_steps_is_an_error(small: Any, calibration: list[Pictures]) -> None:
    with pytest.raises(ConversionError, match="needs pictures and at least one step"):
        fine_tune(small, small, [], steps=1)
    with pytest.raises(ConversionError, match="needs pictures and at least one step"):
        fine_tune(small, small, calibration, steps=0)
