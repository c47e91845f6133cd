"""Kernels fitted and rounded for int8: a smaller error, and steps that the converter finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers
from numpy.typing import NDArray

from converters.float_layers import float_layers_of
from converters.int8.correction import correct_channels
from converters.int8.fitting import fit_to_int8
from converters.int8.rounding import MOST_INPUTS, fit_kernel
from converters.tflite.int8 import Int8Converter
from unet_edge.spec import ModelSpec

Floats = NDArray[np.float32]


def convolution(kernel: Floats, kind: Any = layers.Conv2D, **options: Any) -> Any:
    """A layer with this kernel, without a bias."""
    height, width, channels, last = kernel.shape
    count = () if kind is layers.DepthwiseConv2D else (last,)
    layer = kind(*count, (height, width), use_bias=False, **options)
    layer.build((None, None, None, channels))
    layer.kernel.assign(kernel)
    return layer


def steps(kernel: Floats, axes: tuple[int, ...]) -> Floats:
    """A kernel in units of its channel's int8 step."""
    return np.asarray(127 * kernel / abs(kernel).max(axes, keepdims=True))


@pytest.fixture
def alike() -> Floats:
    """Outputs of ReLU whose 32 channels are mixtures of eight sources, (4, 32, 32, 32)."""
    rng = np.random.default_rng(0)
    sources = rng.normal(0, 1, (4, 32, 32, 8))
    return np.maximum(sources @ rng.normal(0, 1, (8, 32)) + 0.5, 0).astype(np.float32)


@pytest.mark.parametrize("size", [1, 3])
def test_rounded_kernels_have_integer_steps_and_a_smaller_error(alike: Floats, size: int) -> None:
    rng = np.random.default_rng(1)
    kernel = rng.normal(0, 1, (size, size, 32, 16)).astype(np.float32)
    layer = convolution(kernel)
    expected = np.asarray(layer(alike))
    fitted = fit_kernel(layer, alike, alike, rounding="plain")
    integers = steps(fitted, (0, 1, 2))
    # float32 rounds 127 steps by 127 * 2^-23, twice.
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-4)
    # The largest weight stays, so the converter finds the same scale.
    np.testing.assert_allclose(abs(fitted).max((0, 1, 2)), abs(kernel).max((0, 1, 2)), rtol=1e-6)
    step = abs(kernel).max((0, 1, 2)) / 127
    nearest = np.round(kernel / step) * step

    def error(candidate: Floats) -> float:
        layer.kernel.assign(candidate)
        difference = np.asarray(layer(alike)) - expected
        return float((difference - difference.mean((0, 1, 2))).var())

    # 32 channels of eight sources have 24 directions without variance, where errors do not matter.
    # Ideally a quarter of the noise power remains. ReLU adds variance, so half is asserted.
    assert error(fitted) < 0.5 * error(nearest)


def test_depthwise_kernels_are_fitted_channel_by_channel(alike: Floats) -> None:
    smooth = np.asarray(layers.AveragePooling2D(5, 1, "same")(alike))
    kernel = np.random.default_rng(2).normal(0, 1, (3, 3, 32, 1)).astype(np.float32)
    layer = convolution(kernel, layers.DepthwiseConv2D)
    expected = np.asarray(layer(smooth))
    fitted = fit_kernel(layer, smooth, smooth, rounding="plain")
    integers = steps(fitted, (0, 1))
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-4)
    step = abs(kernel).max((0, 1)) / 127
    errors = []
    for candidate in (fitted, np.round(kernel / step[None, None]) * step[None, None]):
        layer.kernel.assign(candidate)
        difference = np.asarray(layer(smooth)) - expected
        errors.append((difference - difference.mean((0, 1, 2))).var())
    # Neighbouring means over 25 pixels share 20 of them, so most rounding errors cancel.
    assert errors[0] < 0.5 * errors[1]


def test_a_kernel_in_float_compensates_for_changed_inputs(alike: Floats) -> None:
    kernel = np.random.default_rng(3).normal(0, 1, (1, 1, 32, 4)).astype(np.float32)
    layer = convolution(kernel)
    expected = np.asarray(layer(alike))
    shrunk = alike * np.linspace(0.8, 1, 32, dtype=np.float32)
    fitted = fit_kernel(layer, shrunk, alike, rounding=None)
    before = (np.asarray(layer(shrunk)) - expected).var()
    layer.kernel.assign(fitted)
    # A factor of each channel can be undone. Damping of 1 % leaves at worst its square if the
    # inputs' variances are alike, and a hundred times as much if they are not.
    assert (np.asarray(layer(shrunk)) - expected).var() < 0.01 * before
    assert fit_kernel(layer, alike, alike, rounding=None) == pytest.approx(fitted, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"dilation_rate": 2}, {"strides": 2}], ids=str)
def test_fitted_kernels_are_right_at_padded_borders_too(options: Any) -> None:
    rng = np.random.default_rng(5)
    pool = layers.AveragePooling2D(9, 1, "same")
    # Far from 0 and smooth: what one tap gains its neighbour may lose, except at a border.
    expected = 4 + 4 * np.asarray(pool(rng.normal(0, 1, (4, 48, 48, 16)).astype(np.float32)))
    actual = np.round(expected * 4) / 4
    kernel = rng.normal(0, 0.1, (3, 3, 16, 4)).astype(np.float32)
    layer = convolution(kernel, padding="same", **options)
    wanted = np.asarray(layer(expected))
    layer.kernel.assign(fit_kernel(layer, actual, expected, rounding="plain"))
    error = np.asarray(layer(actual)) - wanted
    error -= error.mean((0, 1, 2))
    inside = np.s_[:, 2:-2, 2:-2]
    border = np.ones(error.shape, bool)
    border[inside] = False
    # There are fewer sums of noisy products at a border, and so no larger error by itself.
    assert error[border].std() < 1.5 * error[inside].std()


@pytest.mark.parametrize("size", [(128, 128), (152, 104)])
def test_every_column_is_fitted_to(size: tuple[int, int]) -> None:
    """Positions in equal steps could all lie in a few columns, and none at the right border."""
    rng = np.random.default_rng(5)
    pool = layers.AveragePooling2D(9, 1, "same")
    expected = 4 + 4 * np.asarray(pool(rng.normal(0, 1, (16, *size, 4)).astype(np.float32)))
    actual = np.round(expected * 4) / 4
    kernel = rng.normal(0, 0.1, (3, 3, 4, 4)).astype(np.float32)
    layer = convolution(kernel, padding="same")
    wanted = np.asarray(layer(expected))
    layer.kernel.assign(fit_kernel(layer, actual, expected, rounding="plain"))
    error = np.asarray(layer(actual)) - wanted
    error -= error.mean((0, 1, 2))
    inside = error[:, 2:-2, 2:-2].std()
    for side in (error[:, :, 0], error[:, :, -1], error[:, 0], error[:, -1]):
        # As above: sums at a border have fewer noisy products.
        assert side.std() < 1.5 * inside


def test_large_kernels_are_rounded_to_the_nearest_step() -> None:
    channels = MOST_INPUTS // 9 + 1
    rng = np.random.default_rng(4)
    kernel = rng.normal(0, 1, (3, 3, channels, 2)).astype(np.float32)
    pictures = np.zeros((1, 4, 4, channels), np.float32)
    step = abs(kernel).max((0, 1, 2)) / 127
    fitted = fit_kernel(convolution(kernel), pictures, pictures, rounding="plain")
    np.testing.assert_allclose(fitted, np.round(kernel / step) * step, rtol=1e-5)
    same = fit_kernel(convolution(kernel), pictures, pictures, rounding=None)
    np.testing.assert_array_equal(same, kernel)


def test_with_constant_inputs_weights_are_rounded_to_the_nearest_step() -> None:
    kernel = np.array([0.3, -1.27, 0.114], np.float32).reshape(1, 1, 3, 1)
    still = np.ones((1, 4, 4, 3), np.float32)
    fitted = fit_kernel(convolution(kernel), still, still, rounding="plain")
    np.testing.assert_allclose(fitted.ravel(), [0.3, -1.27, 0.11], rtol=1e-6)


def test_a_fit_to_noise_is_not_used() -> None:
    """With eight positions in each half and 32 inputs, least squares would follow any noise."""
    rng = np.random.default_rng(5)
    clean = rng.normal(0, 1, (2, 2, 4, 32)).astype(np.float32)
    noise = rng.normal(0, 0.1, clean.shape).astype(np.float32)
    kernel = rng.normal(0, 1, (1, 1, 32, 4)).astype(np.float32)
    layer = convolution(kernel)
    fitted = fit_kernel(layer, clean + noise, clean, rounding=None)
    fresh = rng.normal(0, 1, (1, 64, 64, 32)).astype(np.float32)
    shift = np.asarray(layer(fresh)).copy()
    layer.kernel.assign(fitted)
    shift -= np.asarray(layer(fresh))
    # Independent noise of a tenth has a hundredth of the power; a fit changes no more than that.
    assert (shift**2).mean() < 0.01 * 32


def test_the_converter_finds_the_fitted_steps(
    trained: Any, spec: ModelSpec, calibration: list[NDArray[np.uint8]]
) -> None:
    before = trained.get_weights()
    fitted = fit_to_int8(trained, calibration)
    data = Int8Converter(fitted, spec, calibration).convert()
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = model.subgraphs
    convolutions = [
        x for x in fitted.layers if isinstance(x, layers.Conv2D | layers.DepthwiseConv2D)
    ]
    kernels = [
        tensor
        for op in graph.operators
        if len(op.inputs) == 3 and (tensor := graph.tensors[op.inputs[1]]).shape.size == 4
    ]
    for layer, tensor in zip(convolutions, kernels, strict=True):
        stored = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8)
        expected = np.asarray(layer.kernel)
        depthwise = isinstance(layer, layers.DepthwiseConv2D)
        integers = np.round(steps(expected, (0, 1) if depthwise else (0, 1, 2)))
        integers = integers.transpose(3, 0, 1, 2)
        # BatchNorm may change a channel's sign.
        same = abs(stored.reshape(integers.shape)) == abs(integers)
        assert same.mean() > 0.999, layer.name
    for weight, old in zip(trained.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_few_pictures_do_no_harm(
    trained: Any,
    spec: ModelSpec,
    calibration: list[NDArray[np.uint8]],
    pictures: NDArray[np.uint8],
    reference: Floats,
    run_tflite: Any,
) -> None:
    layers_in_float = float_layers_of(trained)

    def error(model: Any) -> float:
        data = Int8Converter(model, spec, calibration).convert(layers_in_float)
        return float(((run_tflite(data, pictures) - reference) ** 2).mean())

    corrected = error(correct_channels(trained, calibration, layers_in_float))
    # Sixteen pictures of 64 px are few for the 23 rounded layers, so there is no gain. Fits that
    # follow the noise of few pictures had four times the error; these have 0.9 to 1.35 times, for
    # two networks.
    assert error(fit_to_int8(trained, calibration, layers_in_float)) < 1.5 * corrected
    assert fit_to_int8(trained, []) is trained
