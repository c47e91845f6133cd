"""int8 files of networks that were trained elsewhere: every layer is known, masks stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
from canonical_models import MODELS, canonical_model
from discs import SIZE
from numpy.typing import NDArray

from converters.artifacts import Converter
from converters.device_graph.rewriting import for_device
from converters.int8.fine_tuning import fine_tune
from converters.layers import convolutions
from converters.tflite.int8 import Int8Converter
from unet_edge.evaluation.layer_errors import layer_errors
from unet_edge.model_files.onnx_graph import read_onnx
from unet_edge.spec import ModelSpec, Normalisation

Pictures = NDArray[np.uint8]
Run = Callable[[bytes, Pictures], NDArray[np.float32]]

_NAMES = ("background", "disc", "square")


@dataclass(frozen=True)
class Network:
    """A model with its contract; `labels` are its own, (N, H, W)."""

    model: keras.Model
    spec: ModelSpec
    labels: NDArray[np.int64]


@pytest.fixture(scope="module", params=list(MODELS))
def network(request: pytest.FixtureRequest, pictures: Pictures) -> Iterator[Network]:
    """Each of the tiny models. Its weights are random, but its labels are mostly right."""
    model = canonical_model(request.param)
    scores = np.asarray(model.predict(pictures[:16], verbose=0))
    yield Network(model, ModelSpec(SIZE, SIZE, _NAMES[: scores.shape[-1]]), scores.argmax(-1))
    keras.backend.clear_session()


@pytest.mark.slow
def test_int8_knows_every_layer_and_keeps_the_masks(
    network: Network,
    calibration: list[Pictures],
    pictures: Pictures,
    run_tflite: Run,
    run_onnx: Run,
) -> None:
    model, spec, grids = network.model, network.spec, calibration[:4]

    def agreement(scores: NDArray[np.float32]) -> float:
        return float((scores.argmax(-1) == network.labels).mean())

    device = for_device(model, "tflite")
    unprepared = Int8Converter(device, spec, grids)
    assert unprepared.layers == tuple(layer.name for layer in convolutions(device))
    converter = Converter(model, spec, grids)
    prepared, float_layers = converter.convert(("tflite", "int8"))
    assert set(float_layers) <= set(unprepared.layers)
    onnx, _ = converter.convert(("onnx", "int8"))
    assert not read_onnx(onnx).can_saturate
    plain = agreement(run_tflite(unprepared.convert(), pictures[:16]))
    # 98 %: random weights have no redundancy, so rounding flips more pixels than in a trained
    # network; a wrong scale or a lost layer gives less than 95 %. A tenth of the flips is chance.
    for scores in (run_tflite(prepared, pictures[:16]), run_onnx(onnx, pictures[:16])):
        assert agreement(scores) > 0.98
        assert 1 - agreement(scores) < 1.1 * (1 - plain) + 1e-3
    errors = layer_errors(
        converter.convert(("tflite", "float32"))[0], prepared, "tflite", grids[:2]
    )
    assert len(errors) > 3
    assert min(error.cosine for error in errors) > 0.9


@pytest.mark.slow
def test_fine_tuning_trains_models_of_a_fixed_size(calibration: list[Pictures]) -> None:
    model = canonical_model("gated")
    tuned = fine_tune(model, model, calibration[:4], steps=1)
    before = {weight.path: np.asarray(weight) for weight in model.weights}
    changed = {
        weight.path
        for weight in tuned.weights
        if weight.path in before and not np.array_equal(weight, before[weight.path])
    }
    assert "stem_conv/kernel" in changed
    assert not any("moving" in path for path in changed)
    assert np.isfinite(np.asarray(tuned(calibration[0][None]))).all()


@pytest.mark.slow
def test_other_normalisations_are_exact_in_int8(
    calibration: list[Pictures],
    pictures: Pictures,
    run_tflite: Run,
    run_onnx: Run,
) -> None:
    """The pixels' scale and zero point are the normalisation, so the input has no rounding."""
    model = canonical_model("tutorial", mean=0, std=255)
    expected = np.asarray(model.predict(pictures[:16], verbose=0)).argmax(-1)
    spec = ModelSpec(SIZE, SIZE, _NAMES, normalisation=Normalisation(0, 255))
    converter = Converter(model, spec, calibration[:4], full_integer=True)
    runs: tuple[tuple[Any, Run], ...] = (("tflite", run_tflite), ("onnx", run_onnx))
    for file_format, run in runs:
        data, _ = converter.convert((file_format, "int8"))
        assert (run(data, pictures[:16]).argmax(-1) == expected).mean() > 0.98
