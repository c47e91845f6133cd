"""Kernels fitted to their inputs and rounded so that no sum saturates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.float_layers import float_layers_of
from converters.int8.fitting import fit_to_int8
from converters.int8.kernels import round_bounded, round_plain
from converters.int8.rounding import fit_kernel
from converters.onnx.conversion import to_onnx
from unet_edge.errors import ConversionError
from unet_edge.model_files.onnx_graph import read_onnx
from unet_edge.model_files.saturation import largest_pair
from unet_edge.spec import ModelSpec

Run = Callable[[bytes, NDArray[np.uint8]], NDArray[np.float32]]


def convolution(filters: int, size: int, channels: int) -> Any:
    layer = keras.layers.Conv2D(filters, size, padding="same", use_bias=False)
    layer.build((None, None, None, channels))
    weights = np.random.default_rng(0).normal(0, 0.1, layer.kernel.shape)
    layer.kernel.assign(weights)
    return layer


def correlated(channels: int) -> NDArray[np.float32]:
    """Outputs of ReLU6 with correlated channels, (2, 32, 32, channels)."""
    random = np.random.default_rng(1)
    mixed = random.normal(size=(2, 32, 32, 4)) @ random.normal(size=(4, channels))
    return (3 + 0.5 * mixed + random.normal(0, 0.05, mixed.shape)).clip(0, 6).astype(np.float32)


@pytest.mark.parametrize(("size", "channels"), [(1, 32), (3, 3), (3, 8)])
def test_a_fitted_kernel_is_bounded_and_the_quantiser_finds_its_steps(
    size: int, channels: int
) -> None:
    layer, inputs = convolution(16, size, channels), correlated(channels)
    fitted = fit_kernel(layer, inputs, inputs, rounding="bounded").transpose(3, 2, 0, 1)
    scales, integers = round_bounded(fitted)
    assert largest_pair(integers.astype(np.int8)) <= 128
    # The quantiser rounds to the fitted steps again, up to float32.
    np.testing.assert_allclose(integers * scales[:, None, None, None], fitted, rtol=1e-5, atol=1e-9)


def test_fitting_compensates_for_rounding() -> None:
    layer, inputs = convolution(16, 1, 32), correlated(32)
    kernel = np.asarray(layer.kernel)[0, 0]
    expected = inputs @ kernel

    def error(rounded: NDArray[Any]) -> float:
        differences = inputs @ rounded - expected  # the offset compensates for a constant
        return float((differences - differences.mean((0, 1, 2))).std())

    scales, integers = round_bounded(kernel.T[..., None, None])
    nearest = (integers * scales[:, None, None, None])[..., 0, 0].T
    fitted = fit_kernel(layer, inputs, inputs, rounding="bounded")[0, 0]
    # Four directions have nearly all variance of 32 channels: errors move to the other directions.
    assert error(fitted) < 0.5 * error(nearest)
    plain = round_plain(kernel.T[..., None, None])
    assert error(fitted) < error((plain[1] * plain[0][:, None, None, None])[..., 0, 0].T)


def test_an_onnx_file_leaves_the_given_layers_in_float(
    trained: Any,
    spec: ModelSpec,
    calibration: list[NDArray[np.uint8]],
    pictures: NDArray[np.uint8],
    reference: NDArray[np.float32],
    run_onnx: Run,
) -> None:
    in_float = float_layers_of(trained)  # the first layers and the last: both ends of the graph
    fitted = fit_to_int8(trained, calibration, in_float, rounding="bounded")
    data = to_onnx(fitted, spec, "int8", calibration, float_layers=in_float)
    graph = read_onnx(data)
    assert graph.kernels["float32"] == len(in_float)
    assert not graph.can_saturate
    full_integer = to_onnx(
        fit_to_int8(trained, calibration, rounding="bounded"), spec, "int8", calibration
    )
    assert "float32" not in read_onnx(full_integer).kernels

    def same(model: bytes) -> float:
        return float((run_onnx(model, pictures).argmax(-1) == reference.argmax(-1)).mean())

    assert same(data) > same(full_integer)


def test_an_unknown_layer_is_an_error(
    trained: Any, spec: ModelSpec, calibration: list[NDArray[np.uint8]]
) -> None:
    with pytest.raises(ConversionError, match="no convolution named no_such_layer"):
        to_onnx(trained, spec, "int8", calibration, float_layers=("no_such_layer",))


def test_a_filter_of_zeros_stays_zero_and_disturbs_no_other() -> None:
    inputs = correlated(8)
    layer, alone = convolution(6, 3, 8), convolution(5, 3, 8)
    kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
    alone.kernel.assign(kernel[..., :5])
    kernel[..., 5] = 0
    layer.kernel.assign(kernel)
    fitted = fit_kernel(layer, inputs, inputs, rounding="bounded")
    assert not fitted[..., 5].any()
    expected = fit_kernel(alone, inputs, inputs, rounding="bounded")
    # LAPACK solves for 6 columns or 5; float64 rounds far below a step of 0.3 / 127.
    np.testing.assert_allclose(fitted[..., :5], expected, atol=1e-6)
