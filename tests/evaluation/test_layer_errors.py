from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.onnx.conversion import to_onnx
from converters.tflite.conversion import to_tflite
from converters.tflite.int8 import Int8Converter
from unet_edge.errors import ModelFileError
from unet_edge.evaluation.layer_errors import layer_errors
from unet_edge.spec import ModelSpec
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def float32(trained: Any, spec: ModelSpec) -> bytes:
    return to_tflite(trained, spec, "float32")


def test_a_file_has_no_error_against_itself(float32: bytes, pictures: Pictures) -> None:
    errors = layer_errors(float32, float32, "tflite", pictures[:2])
    assert [error.tensor for error in errors][-2:] == ["logits_half_1/BiasAdd", "logits"]
    assert all(error.sqnr_db == math.inf for error in errors)
    assert all(error.cosine == pytest.approx(1) for error in errors)


def test_the_errors_of_int8_are_those_of_8_bits_in_every_layer(
    float32: bytes, trained: Any, spec: ModelSpec, calibration: Any, pictures: Pictures
) -> None:
    data = to_tflite(trained, spec, "int8", calibration, float_layers=())
    errors = {error.tensor: error for error in layer_errors(float32, data, "tflite", pictures[:4])}
    # 17 convolutions, 14 depthwise ones and the one of dec4, 4 resizes, 3 concatenations.
    assert len(errors) == 32 + 4 + 3
    first, last = errors["conv1_relu_1/Relu6"], errors["logits"]
    # One layer: steps of 6/255 on values of rms about 1 make 20 log10(255 / 6 * sqrt(12)) = 43 dB,
    # weights of 8 bits about as much; 30 layers add up to 15 dB more noise.
    assert 33 < first.sqnr_db < 50
    assert 15 < last.sqnr_db < first.sqnr_db
    assert {error.dtype for name, error in errors.items() if name != "logits"} == {"int8"}
    assert last.dtype == "uint8"


def test_onnx_files_are_compared_by_operation(
    trained: Any, spec: ModelSpec, calibration: Any, pictures: Pictures
) -> None:
    exact = to_onnx(trained, spec, "float32")
    assert {e.sqnr_db for e in layer_errors(exact, exact, "onnx", pictures[:1])} == {math.inf}
    half = layer_errors(exact, to_onnx(trained, spec, "float16"), "onnx", pictures[:1])
    rounded = layer_errors(exact, to_onnx(trained, spec, "int8", calibration), "onnx", pictures[:4])
    # 32 convolutions, 4 resizes and 3 concatenations, each behind its activation.
    names = [error.tensor for error in rounded]
    assert [error.tensor for error in half] == names
    assert len(names) == 32 + 4 + 3
    assert names[:2] == ["Conv_0", "Conv_1"]
    assert names[-1] == "Resize_3"
    errors = {error.tensor: error for error in rounded}
    # As for the .tflite file: 43 dB from 8 bits of the activation and 43 dB from those of the
    # weights; thirty layers add up to 15 dB more noise. 11 bits have 18 dB less noise than 8.
    assert 33 < errors["Conv_0"].sqnr_db < 50
    assert 15 < errors["Resize_3"].sqnr_db < errors["Conv_0"].sqnr_db
    assert all(h.sqnr_db > r.sqnr_db + 15 for h, r in zip(half, rounded, strict=True))
    # Only what follows the last convolution stays in float.
    assert [name for name, error in errors.items() if error.dtype == "float32"] == ["Resize_3"]


def test_a_layer_in_float_has_a_smaller_error(
    float32: bytes, trained: Any, spec: ModelSpec, calibration: Any, pictures: Pictures
) -> None:
    converter = Int8Converter(trained, spec, calibration)
    name = "conv_pw_1_relu_1/Relu6"

    def ratio(data: bytes) -> float:
        (error,) = (
            e for e in layer_errors(float32, data, "tflite", pictures[:2]) if e.tensor == name
        )
        return error.sqnr_db

    # The two layers before it are in float too, and pixels are exact: nothing is rounded.
    assert ratio(converter.convert(("conv1", "conv_dw_1", "conv_pw_1"))) > 60
    assert ratio(converter.convert()) < 45


def test_files_of_two_models_are_refused(float32: bytes, pictures: Pictures) -> None:
    other = build(Network("unet_mini"), 3, ModelSpec(64, 64, ("a", "b", "c")).normalisation)
    data = to_tflite(other, ModelSpec(64, 64, ("background", "disc", "square")), "float32")
    with pytest.raises(ModelFileError, match="share no tensor; they must be files of one model"):
        layer_errors(float32, data, "tflite", pictures[:1])
