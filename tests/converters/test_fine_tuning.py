from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.fine_tuning import fine_tune
from converters.tflite import to_tflite
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]
Run = Callable[[bytes, Pictures], Logits]

pytestmark = pytest.mark.slow


def test_a_model_that_int8_ruins_is_mended(
    hard: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    pictures: Pictures,
    run_tflite: Run,
) -> None:
    wanted = np.asarray(hard.predict(pictures, verbose=0)).argmax(-1)

    def disagreement(model: Any) -> float:
        data = to_tflite(model, spec, "int8", calibration, float_layers=())
        return float((run_tflite(data, pictures).argmax(-1) != wanted).mean())

    before = disagreement(hard)
    assert before > 0.1
    assert disagreement(fine_tune(hard, hard, calibration, steps=100)) < before / 2


def test_moving_statistics_stay(trained: Any, calibration: list[Pictures]) -> None:
    tuned = fine_tune(trained, trained, calibration, steps=3)
    # A step of Adam is its rate at most, 1e-3 at most.
    moved = [
        abs(after - before).max()
        for after, before in zip(tuned.get_weights(), trained.get_weights(), strict=True)
    ]
    assert 0 < max(moved) <= 3 * 1e-3
    for layer, twin in zip(trained.layers, tuned.layers, strict=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            assert np.array_equal(layer.moving_mean, twin.moving_mean)
            assert np.array_equal(layer.moving_variance, twin.moving_variance)


def test_the_model_itself_is_not_touched_and_a_seed_repeats(
    trained: Any, calibration: list[Pictures]
) -> None:
    before = trained.get_weights()
    one, two, other = (
        fine_tune(trained, trained, calibration, steps=2, seed=seed).get_weights()
        for seed in (0, 0, 1)
    )
    assert all(map(np.array_equal, before, trained.get_weights()))
    assert all(map(np.array_equal, one, two))
    assert not all(map(np.array_equal, one, other))


def test_layers_that_stay_in_float_are_not_rounded(
    trained: Any, calibration: list[Pictures]
) -> None:
    names = [layer.name for layer in trained.layers]
    rounded = fine_tune(trained, trained, calibration, steps=1)
    whole = fine_tune(trained, trained, calibration, steps=1, float_layers=names)
    assert not all(map(np.array_equal, rounded.get_weights(), whole.get_weights()))


def test_nothing_to_learn_from_is_an_error(trained: Any, calibration: list[Pictures]) -> None:
    with pytest.raises(ConversionError, match="needs pictures and at least one step"):
        fine_tune(trained, trained, [], steps=1)
    with pytest.raises(ConversionError, match="needs pictures and at least one step"):
        fine_tune(trained, trained, calibration, steps=0)
