"""Two classes in int8: hardly any ties, and fine steps where both scores are close."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from converters.int8.correction import correct_channels
from converters.score_layers import score_layers
from converters.tflite.conversion import to_tflite
from converters.tflite.int8_scores import RANGE, centred, narrow, score_range
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.models import build
from unet_edge.training.settings.network import DecoderKind, Network


def quantised(data: bytes, grids: list[NDArray[np.uint8]]) -> tuple[NDArray[np.int64], float, int]:
    """Raw scores (N, H, W, classes), their scale and zero point."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    scores = []
    for grid in grids:
        interpreter.set_tensor(source["index"], grid[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(target["index"])[0].astype(np.int64))
    return np.stack(scores), *target["quantization"]


@pytest.fixture(scope="module")
def two_classes(
    trained: Any, calibration: list[NDArray[np.uint8]], pictures: NDArray[np.uint8]
) -> tuple[Any, ModelSpec, list[NDArray[np.uint8]]]:
    """The trained network without its third class, its contract, and 48 pictures."""
    model = build(Network(alpha=0.25), 2, Normalisation())
    model.set_weights(
        [
            weight[..., : own.shape[-1]]
            for weight, own in zip(trained.get_weights(), model.get_weights(), strict=True)
        ]
    )
    spec = ModelSpec(*pictures.shape[1:3], ("background", "disc"))
    return model, spec, [*calibration, *pictures]


def test_near_the_border_scores_have_fine_steps_and_hardly_tie(two_classes: Any) -> None:
    model, spec, grids = two_classes
    corrected = correct_channels(model, grids[:16])
    raw, scale, zero_point = quantised(to_tflite(corrected, spec, "int8", grids[:16]), grids[16:])
    assert zero_point == 128
    assert 0 < scale <= RANGE / 127 * (1 + 1e-6)
    # Half a step is added to both scores, so their sum is one step if neither is clipped.
    # Convolution and resize round both scores by at most half a step each: 2 steps in all.
    inside = (raw > 0).all(-1) & (raw < 255).all(-1)
    assert inside.mean() > 0.2
    excess = raw.sum(-1)[inside] - 2 * zero_point - 1
    assert abs(excess).max() <= 2
    assert (excess == 0).mean() > 0.9
    assert (raw[..., 0] == raw[..., 1]).mean() < 1e-3
    # The difference is Keras' difference, within the range of the scores.
    logits = np.asarray(model.predict(np.stack(grids[16:]), verbose=0), np.float64)
    expected = (logits[..., 1] - logits[..., 0]).clip(-2 * RANGE, 2 * RANGE)
    difference = (raw[..., 1] - raw[..., 0]) * scale
    # assert_int8_close derives the bound on an int8 network's error: a tenth of the scores.
    assert np.sqrt(((difference - expected) ** 2).mean()) < 0.1 * np.sqrt((expected**2).mean())
    # A low floor: 99.7 % were measured.
    assert ((difference > 0) == (expected > 0)).mean() > 0.99


@pytest.mark.parametrize("decoder", ["separable", "dense"])
def test_centred_scores_add_up_to_zero_and_keep_their_difference(
    pictures: NDArray[np.uint8], decoder: DecoderKind
) -> None:
    keras.utils.set_random_seed(3)
    model = build(Network(alpha=0.25, decoder=decoder), 2, Normalisation())
    last = next(x for x in reversed(model.layers) if isinstance(x, keras.layers.Conv2D))
    last.bias.assign([0.5, -2.0])
    weights = model.get_weights()
    before = np.asarray(model.predict(pictures[:4], verbose=0))
    after = np.asarray(centred(model).predict(pictures[:4], verbose=0))
    # Sums of 64 to 576 float32 terms of order one: 600 roundings of 2^-24 are 4e-5.
    np.testing.assert_allclose(after.sum(-1), 0, atol=1e-4)
    np.testing.assert_allclose(
        after[..., 1] - after[..., 0], before[..., 1] - before[..., 0], atol=1e-4
    )
    assert abs(before.sum(-1)).max() > 1
    for weight, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_full_integer_scores_of_more_classes_keep_their_range(
    trained: Any, spec: ModelSpec, calibration: list[NDArray[np.uint8]], pictures: Any
) -> None:
    assert centred(trained) is trained
    data = to_tflite(trained, spec, "int8", calibration, float_layers=())
    raw, scale, _ = quantised(data, list(pictures[:4]))
    logits = np.asarray(trained.predict(pictures[:4], verbose=0))
    # The calibrated range includes the largest score.
    assert 255 * scale >= 0.9 * (logits.max() - logits.min())
    assert raw.min() < 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        Network("unet_mini"),
        Network(alpha=0.25, decoder="dense"),
        Network(encoder="mobilenet_v2", alpha=0.35),
        Network(encoder="mobilenet_v3_small", alpha=0.75),
    ],
    ids=str,
)
def test_every_network_of_two_classes(
    network: Network, calibration: list[NDArray[np.uint8]], pictures: NDArray[np.uint8]
) -> None:
    """Untrained networks have biases of zero, which share one buffer."""
    keras.utils.set_random_seed(4)
    model = build(network, 2, Normalisation())
    spec = ModelSpec(*pictures.shape[1:3], ("background", "thing"))
    raw, scale, zero_point = quantised(to_tflite(model, spec, "int8", calibration), list(pictures))
    assert zero_point == 128
    assert 0 < scale <= RANGE / 127 * (1 + 1e-6)
    inside = (raw > 0).all(-1) & (raw < 255).all(-1)
    excess = raw.sum(-1)[inside] - 257
    assert abs(excess).max() <= 2
    assert (excess == 0).mean() > 0.9


def test_scores_that_are_not_centred_keep_their_calibrated_range(
    two_classes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clipping them would lose the decision, and without a bias nothing shifts them."""
    from ai_edge_litert import schema_py_generated as schema

    model, spec, grids = two_classes
    centred_file = to_tflite(model, spec, "int8", grids[:4])
    monkeypatch.setattr("converters.tflite.int8.centred", lambda model: model)
    data = to_tflite(model, spec, "int8", grids[:4])
    _, scale, _ = quantised(data, grids[16:20])
    logits = np.asarray(model.predict(np.stack(grids[16:20]), verbose=0))
    assert 255 * scale >= 0.9 * (logits.max() - logits.min())
    file = schema.ModelT.InitFromPackedBuf(centred_file, 0)
    (graph,) = file.subgraphs
    for operator in graph.operators:
        operator.inputs = operator.inputs[:2]
    before = [tensor.quantization and tensor.quantization.scale for tensor in graph.tensors]
    narrow(file)
    after = [tensor.quantization and tensor.quantization.scale for tensor in graph.tensors]
    assert all(map(np.array_equal, before, after))


def test_the_scores_layer_is_found_behind_layers_that_resize_them() -> None:
    pixels = keras.Input((8, 8, 3))
    scores = keras.layers.Conv2D(2, 1, use_bias=False, name="head")(pixels)
    resized = keras.layers.Resizing(16, 16, interpolation="bilinear")(scores)
    cropped = keras.layers.Cropping2D(1, name="crop")(resized)
    model = keras.Model(pixels, cropped)
    assert [layer.name for layer in score_layers(model)[::2]] == ["head", "crop"]
    both = np.asarray(centred(model)(np.random.default_rng(0).random((1, 8, 8, 3), np.float32)))
    np.testing.assert_allclose(both.sum(-1), 0, atol=1e-6)
    assert abs(both).max() > 0.1


@pytest.mark.parametrize(("steepness", "resized", "wider"), [(40, True, True), (40, False, False),
                                                             (1, True, False)])  # fmt: skip
def test_steep_scores_that_are_resized_keep_a_wider_range(
    steepness: float, resized: bool, wider: bool
) -> None:
    random = np.random.default_rng(2)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Conv2D(2, 3, padding="same", name="head")(x)
    if resized:
        x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    model = keras.Model(pixels, x)
    kernel = random.normal(size=(3, 3, 3, 2)) * steepness
    model.get_layer("head").set_weights([kernel, np.zeros(2)])
    grids = list(random.integers(0, 256, (4, 32, 32, 3), np.uint8))
    found = score_range(model, grids)
    assert found > RANGE if wider else found == RANGE
    if not wider:
        return
    # The file has that range.
    spec = ModelSpec(32, 32, ("background", "thing"))
    _, scale, _ = quantised(to_tflite(model, spec, "int8", grids, float_layers=()), grids[:1])
    assert scale == pytest.approx(found / 127)
