from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from converters.float_layers import float_layers_of, stem
from converters.tflite.check import operators, partitions
from converters.tflite.conversion import to_tflite
from converters.tflite.int8 import Int8Converter
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]
Run = Callable[[bytes, Pictures], Logits]


@pytest.fixture(scope="module")
def converter(trained: Any, spec: ModelSpec, calibration: list[Pictures]) -> Int8Converter:
    return Int8Converter(trained, spec, calibration)


def test_the_layers_are_all_convolutions_of_keras(converter: Int8Converter, trained: Any) -> None:
    convolutions = [x.name for x in trained.layers if hasattr(x, "kernel_size")]
    assert converter.layers == tuple(convolutions)
    assert convolutions[-1] == "logits_half"


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenet_v2", "mobilenet_v3_small"])
def test_layers_of_other_encoders_are_found_by_name(encoder: Any, calibration: Any) -> None:
    model = build(Network(encoder=encoder), 3, ModelSpec(64, 64, ("a", "b", "c")).normalisation)
    names = Int8Converter(model, ModelSpec(64, 64, ("a", "b", "c")), calibration[:2]).layers
    convolutions = [layer.name for layer in model.layers if hasattr(layer, "kernel_size")]
    # V3's gates have convolutions too.
    assert sorted(names) == sorted(convolutions)


def test_without_float_layers_it_is_the_full_integer_file(
    converter: Int8Converter, trained: Any, spec: ModelSpec, calibration: list[Pictures]
) -> None:
    full = to_tflite(trained, spec, "int8", calibration, float_layers=())
    assert converter.convert() == full
    # An earlier choice has no effect on a later one.
    converter.convert(("dec1_pw",))
    assert converter.convert() == full


def test_float_layers_are_computed_in_float_between_dequantize_and_quantize(
    converter: Int8Converter,
) -> None:
    plain, mixed = converter.convert(), converter.convert(("conv_pw_5", "dec2_dw"))
    before, after = operators(plain), operators(mixed)
    assert before["DEQUANTIZE"] == 0
    # Both layers read and write int8 tensors.
    assert after["DEQUANTIZE"] == 2
    assert after["QUANTIZE"] == before["QUANTIZE"] + 2
    assert after["CONV_2D"] == before["CONV_2D"]
    assert partitions(mixed) == 1
    # At alpha 0.25, conv_pw_5 has 64 x 64 weights of three more bytes each. Its kernel and bias
    # lose 64 scales and zero points of 12 bytes each.
    assert len(mixed) - len(plain) > 3 * 64 * 64 - 2 * 64 * 12


def test_float_layers_lower_the_error_of_the_scores(
    converter: Int8Converter, pictures: Pictures, reference: Logits, run_tflite: Run
) -> None:
    def error(data: bytes) -> float:
        centred = reference - reference.mean(-1, keepdims=True)
        scores = run_tflite(data, pictures)
        return float(((scores - scores.mean(-1, keepdims=True) - centred) ** 2).mean())

    plain, in_float = error(converter.convert()), error(converter.convert(converter.layers))
    # Only the three concatenations still round, among thirty-two convolutions in float.
    assert in_float < plain / 10


def test_an_unknown_layer_is_named_in_the_error(converter: Int8Converter) -> None:
    with pytest.raises(ConversionError, match=r"dec9_pw cannot be left in float; .* are conv1, "):
        converter.convert(("dec9_pw",))


def test_int8_leaves_layers_in_float_by_default(
    converter: Int8Converter, trained: Any, spec: ModelSpec, calibration: list[Pictures]
) -> None:
    first = [f"conv_{kind}_{n}" for n in range(1, 5) for kind in ("dw", "pw")][:-1]
    layers = ("conv1", *first, "logits_half")
    assert float_layers_of(trained) == layers
    assert to_tflite(trained, spec, "int8", calibration) == converter.convert(layers)
    two = build(Network(alpha=0.25), 2, spec.normalisation)
    assert float_layers_of(two) == ("conv1", "conv_dw_1")
    with pytest.raises(ConversionError, match="float_layers are for int8, not for float32"):
        to_tflite(trained, spec, "float32", float_layers=("conv1",))


def test_the_stem_is_the_first_convolution_and_the_depthwise_one_after_it() -> None:
    normalisation = ModelSpec(64, 64, ("a", "b")).normalisation
    stems = {
        "mobilenet_v2": ("Conv1", "expanded_conv_depthwise"),
        "mobilenet_v3_large": ("conv", "expanded_conv_depthwise"),
    }
    for encoder, expected in stems.items():
        assert stem(build(Network(encoder=encoder), 2, normalisation)) == expected  # type: ignore[arg-type]
    # A convolution that scales an imported model's pixels comes before the stem.
    x = keras.layers.Conv2D(3, 1, name="scale_input")(pixels := keras.Input((8, 8, 3)))
    x = keras.layers.Conv2D(4, 3, name="first")(x)
    both = keras.layers.DepthwiseConv2D(3, name="second")(x)
    scores = keras.layers.Conv2D(2, 1, name="head")(both)
    model = keras.Model(pixels, scores)
    assert stem(model) == ("scale_input", "first", "second")
    assert float_layers_of(model, "onnx") == ("scale_input", "first", "second", "head")
    # Another convolution reads the first: ONNX Runtime would round the second by itself.
    shortcut = keras.layers.Conv2D(2, 3, name="shortcut")(x)
    model = keras.Model(pixels, keras.layers.Add()([scores, shortcut]))
    assert float_layers_of(model, "onnx") == ()
    assert float_layers_of(model) == ("scale_input", "first", "second")
    # Without a depthwise one, ONNX Runtime needs the next in float, and TFLite does not.
    full = keras.layers.Conv2D(4, 3, name="second")(x)
    model = keras.Model(pixels, keras.layers.Conv2D(2, 1, name="head")(full))
    assert float_layers_of(model) == ("scale_input",)
    assert float_layers_of(model, "onnx") == ("scale_input", "first", "head")
    # A model with a single convolution, such as the doctor's tiny models, has no stem.
    pixels = keras.Input((8, 8, 3))
    assert stem(keras.Model(pixels, keras.layers.Conv2D(2, 1)(pixels))) == ()
    # The second convolution of this network is not depthwise.
    assert stem(build(Network("unet_mini"), 2, normalisation)) == ()


def test_int16x8_agrees_better_than_int8_and_dynamic_needs_no_pictures(
    trained: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    pictures: Pictures,
    reference: Logits,
    run_tflite: Run,
    converter: Int8Converter,
    assert_int8_close: Callable[[Logits, Logits], None],
) -> None:
    def disagreement(data: bytes) -> float:
        return float((run_tflite(data, pictures).argmax(-1) != reference.argmax(-1)).mean())

    wide = to_tflite(trained, spec, "int16x8", calibration)
    dynamic = to_tflite(trained, spec, "dynamic")
    # Rounded activations are about half of int8's noise power; flips are proportional to its root.
    assert disagreement(wide) < 0.9 * disagreement(converter.convert())
    assert_int8_close(run_tflite(dynamic, pictures), reference)
    float32 = to_tflite(trained, spec, "float32")
    assert len(dynamic) < 0.6 * len(float32)
    assert len(wide) < 0.6 * len(float32)
    for data in (wide, dynamic):
        (details,) = Interpreter(model_content=data).get_input_details()
        assert details["dtype"] == np.uint8
        assert details["quantization"] == (1 / 128, 128)
    with pytest.raises(ConversionError, match="needs calibration pictures"):
        to_tflite(trained, replace(spec), "int16x8")
