"""int8 files of networks whose BatchNorm follows a ReLU, and whose sums are far below 0."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from numpy.typing import NDArray

from converters.device_graph.rewriting import for_device
from converters.int8.fitting import fit_to_int8
from converters.tflite.conversion import to_tflite
from converters.tflite.int8 import Int8Converter
from unet_edge.spec import ModelSpec, Normalisation

SIZE = 16
# 16 features of pixels of some 0.5: with factors from 1 to 3e4, no range fits all channels.
FACTORS = np.geomspace(1, 3e4, 16).astype(np.float32)


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(3)
    made = random.integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    made[0, 0, 0], made[0, -1, -1] = 0, 255  # as the converter sets them for the input's range
    return list(made)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return ModelSpec(SIZE, SIZE, ("a", "b", "c"), normalisation=Normalisation(128, 128))


def network(pictures: list[NDArray[np.uint8]], *, dead: int) -> keras.Model:
    """Conv, ReLU, BatchNorm, Conv: with very different channels, and `dead` that never fire."""
    keras.utils.set_random_seed(5)
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    features = layers.ReLU()(layers.Conv2D(16, 3, padding="same", name="features")(x))
    normal = layers.BatchNormalization(name="normal")(features)
    made = keras.Model(pixels, layers.Conv2D(3, 3, padding="same", name="logits")(normal))
    conv, norm = made.get_layer("features"), made.get_layer("normal")
    kernel, bias = conv.get_weights()
    bias[:dead] = -10.0  # no sum of 27 products reaches it
    conv.set_weights([kernel * FACTORS, bias * FACTORS])
    values = np.asarray(keras.Model(pixels, features)(np.stack(pictures).astype(np.float32)))
    beta = np.linspace(-1, 1, 16)
    norm.set_weights([np.ones(16), beta, values.mean((0, 1, 2)), values.var((0, 1, 2))])
    return made


def test_gains_move_into_the_convolution_before_without_changing_a_bit(
    pictures: list[NDArray[np.uint8]],
) -> None:
    model = network(pictures, dead=4)
    batch = np.stack(pictures).astype(np.float32)
    fast = for_device(model, "tflite")
    own, ours = (
        np.asarray(keras.Model(each.inputs, each.get_layer("features").output)(batch))
        for each in (model, fast)
    )
    powers = np.log2(np.abs(ours).max((0, 1, 2)) / np.abs(own).max((0, 1, 2)))
    np.testing.assert_allclose(powers, powers.round(), atol=1e-6)
    live = np.maximum(ours, 0)[..., 4:]
    # A BatchNorm's deviation is 1, and a power of two is at most 1.42 times away.
    assert live.std((0, 1, 2)).min() > 0.7
    assert live.std((0, 1, 2)).max() < 1.43
    # Sums of dead channels get the range of the others: without the factor, up to 800 times.
    assert np.abs(ours[..., :4]).max() < 30 * np.abs(ours[..., 4:]).max()
    scores, expected = np.asarray(fast(batch)), np.asarray(model(batch))
    np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("scale", "activation"), [(True, None), (False, None), (True, "tanh")])
def test_a_gain_is_moved_once_with_its_mean(scale: bool, activation: str | None) -> None:
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    x = layers.Conv2D(8, 3, use_bias=False, padding="same", activation=activation)(x)
    x = layers.LeakyReLU(0.1)(x)
    x = layers.BatchNormalization(scale=scale, name="normal")(x)
    model = keras.Model(pixels, layers.Conv2D(2, 3, padding="same", name="logits")(x))
    random = np.random.default_rng(0)
    norm = model.get_layer("normal")
    norm.set_weights([random.uniform(0.1, 5, array.shape) for array in norm.get_weights()])
    if scale:  # a gain below 0 turns ReLU around, and stays where it is
        norm.gamma.assign(norm.gamma * np.array([-1, 1, 1, 1, 1, 1, 1, 1]))
    batch = random.integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    expected = np.asarray(model(batch))
    found = np.asarray(for_device(model, "tflite")(batch))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dead", [0, 4])
def test_int8_scores_of_very_different_channels_stay_close(
    pictures: list[NDArray[np.uint8]], spec: ModelSpec, dead: int
) -> None:
    # Without the limit, XNNPACK refuses the file with dead channels; without the moved gains, all
    # channels but the largest are rounded to 0.
    model = network(pictures, dead=dead)
    data = to_tflite(for_device(model, "tflite"), spec, "int8", pictures, float_layers=())
    expected = np.asarray(model(np.stack(pictures).astype(np.float32)))
    error = _scores(data, pictures) - expected
    # Four roundings to 8 bits of a range of some 8 deviations are 1.8 % of a deviation each.
    assert np.sqrt((error**2).mean()) < 4 * 0.018 * expected.std()


def test_layers_in_float_keep_their_large_gains(
    pictures: list[NDArray[np.uint8]], spec: ModelSpec
) -> None:
    model = network(pictures, dead=4)
    converter = Int8Converter(for_device(model, "tflite"), spec, pictures)
    kernels = [_largest_depthwise(converter.convert(each)) for each in ((), ("normal",))]
    # 1/sqrt(0.001), divided by a power of two next to the gain of the middle channel.
    assert kernels[1] > 10 * kernels[0]


def _largest_depthwise(data: bytes) -> float:
    """The largest weight of the only depthwise convolution in a file."""
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = model.subgraphs
    codes = [code.builtinCode for code in model.operatorCodes]
    kind = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    (found,) = (each for each in graph.operators if codes[each.opcodeIndex] == kind)
    kernel = graph.tensors[found.inputs[1]]
    raw = bytes(model.buffers[kernel.buffer].data)
    if kernel.type == schema.TensorType.FLOAT32:
        return float(np.abs(np.frombuffer(raw, np.float32)).max())
    scales = np.asarray(kernel.quantization.scale)
    return float((np.abs(np.frombuffer(raw, np.int8).astype(np.float32)) * scales).max())


def test_operands_of_a_sum_with_relu_are_cut_where_it_is_below_zero(
    pictures: list[NDArray[np.uint8]], spec: ModelSpec
) -> None:
    keras.utils.set_random_seed(6)
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="first")(x))
    low, high = (layers.Conv2D(8, 3, padding="same", name=name)(x) for name in ("low", "high"))
    x = layers.ReLU()(layers.Add()([low, high]))
    model = keras.Model(pixels, layers.Conv2D(3, 1, name="logits")(x))
    kernel, _ = model.get_layer("low").get_weights()
    bias = np.where(np.arange(8) < 4, -50.0, 0.0)  # half of its channels are far below 0
    model.get_layer("low").set_weights([kernel, bias])
    model.get_layer("high").kernel.assign(model.get_layer("high").kernel / 2)
    fitted = fit_to_int8(model, pictures)
    files = [Int8Converter(each, spec, pictures).convert() for each in (model, fitted)]
    ranges = _ranges(files[0])
    batch = np.stack(pictures).astype(np.float32)
    sums = [np.asarray(keras.Model(pixels, each)(batch)) for each in (low, high)]
    # The other operand is never below minus the largest value of the first, and stays whole.
    expected = sorted([-sums[1].max(), sums[1].min()])
    # The ends are rounded to whole steps, some 1/150 of them.
    np.testing.assert_allclose(sorted(bottom for bottom, _ in ranges), expected, rtol=0.02)
    # The fit rounds as the file does: with the whole ranges, its error would be ten times as large.
    right = np.asarray(model(batch))
    plain, own = (_scores(data, pictures) - right for data in files)
    assert (own**2).mean() < 1.5 * (plain**2).mean()


def _scores(data: bytes, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = target["quantization"]
    found = []
    for picture in pictures:
        interpreter.set_tensor(source["index"], picture[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(target["index"])[0].astype(np.float32))
    return (np.stack(found) - zero) * np.float32(scale)


def _ranges(data: bytes) -> list[tuple[float, float]]:
    """The lowest and highest value of both operands of the only addition in a file."""
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = model.subgraphs
    codes = [code.builtinCode for code in model.operatorCodes]
    (add,) = (
        each for each in graph.operators if codes[each.opcodeIndex] == schema.BuiltinOperator.ADD
    )
    found = []
    for index in add.inputs:
        quantisation = graph.tensors[index].quantization
        scale, zero = float(quantisation.scale[0]), int(quantisation.zeroPoint[0])
        found.append((scale * (-128 - zero), scale * (127 - zero)))
    return found
