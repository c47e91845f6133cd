from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from converters.freeze import as_float32, require_tensorflow, spell_out_hard_swish
from converters.slow_parts import slow_parts
from converters.tflite.check import operators, outside_xnnpack, partitions
from converters.tflite.conversion import Precision, to_tflite
from unet_edge.errors import ConversionError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]
Run = Callable[[bytes, Pictures], Logits]
Converted = Callable[[Network, Format, Precision], bytes]

# The tolerance for float32. Rounding by 6e-8, about 1,000 terms in a sum, 30 layers, logits of
# about 10: 6e-8 * sqrt(1000) * sqrt(30) * 10 = 1e-4 at most.
LOGIT_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def float32(trained: Any, spec: ModelSpec) -> bytes:
    return to_tflite(trained, spec, "float32")


@pytest.fixture(scope="module")
def float16(trained: Any, spec: ModelSpec) -> bytes:
    return to_tflite(trained, spec, "float16")


@pytest.fixture(scope="module")
def int8(trained: Any, spec: ModelSpec, calibration: list[Pictures]) -> bytes:
    return to_tflite(trained, spec, "int8", calibration)


def input_details(data: bytes) -> dict[str, Any]:
    (details,) = Interpreter(model_content=data).get_input_details()
    return details


# The scores of the files


def test_float32_is_the_keras_model(
    float32: bytes, pictures: Pictures, reference: Logits, run_tflite: Run
) -> None:
    logits = run_tflite(float32, pictures)
    assert abs(logits - reference).max() <= LOGIT_TOLERANCE
    # 99.999 % of 131,072 pixels must agree: one may differ.
    assert (logits.argmax(-1) != reference.argmax(-1)).sum() <= 1


def test_float16_keeps_999_of_1000_labels(
    float16: bytes, pictures: Pictures, reference: Logits, run_tflite: Run
) -> None:
    logits = run_tflite(float16, pictures)
    # Weights of 11 bits round by 2**-12, independently over 30 layers: sqrt(30) / 4096 = 0.13 % of
    # the rms.
    rms = np.sqrt((reference**2).mean())
    assert np.sqrt(((logits - reference) ** 2).mean()) <= 3 * 0.0013 * rms
    assert (logits.argmax(-1) == reference.argmax(-1)).mean() >= 0.999
    assert partitions(float16) == 1
    assert not outside_xnnpack(float16)


def test_fewer_bits_make_smaller_files(float32: bytes, float16: bytes, int8: bytes) -> None:
    assert len(float32) > 1.5 * len(float16)
    assert len(float16) > len(int8)


def test_int8_stays_within_the_noise_of_8_bits(
    int8: bytes,
    pictures: Pictures,
    reference: Logits,
    run_tflite: Run,
    assert_int8_close: Callable[[Logits, Logits], None],
) -> None:
    assert_int8_close(run_tflite(int8, pictures), reference)


def test_calibration_does_not_change_the_given_pictures(
    trained: Any, spec: ModelSpec, calibration: list[Pictures]
) -> None:
    before = [picture.copy() for picture in calibration]
    to_tflite(trained, spec, "int8", calibration)
    assert all((a == b).all() for a, b in zip(before, calibration, strict=True))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(
    "normalisation", [Normalisation(), Normalisation(100, 50), Normalisation(0, 255)]
)
def test_the_input_quantisation_is_the_normalisation(
    untrained: Callable[..., Any],
    spec: ModelSpec,
    run_tflite: Run,
    precision: Precision,
    normalisation: Normalisation,
) -> None:
    model = untrained(Network("unet_mini"), normalisation)
    # Pictures without black and white: the scale must not depend on them.
    pictures = np.random.default_rng(0).integers(90, 160, (2, *spec.size, 3), np.uint8)
    spec = replace(spec, normalisation=normalisation)
    data = to_tflite(model, spec, precision, list(pictures))
    assert input_details(data)["quantization"] == (
        float(np.float32(1 / normalisation.std)),
        normalisation.mean,
    )
    expected = np.asarray(model.predict(pictures, verbose=0))
    # In int8, ten layers of noise; see assert_int8_close.
    limit = LOGIT_TOLERANCE if precision == "float32" else 0.1 * np.sqrt((expected**2).mean())
    scores = run_tflite(data, pictures)
    assert np.sqrt(((scores - expected) ** 2).mean()) <= limit


def test_a_mean_between_two_pixel_values_adds_three_operators(
    untrained: Callable[..., Any], spec: ModelSpec, pictures: Pictures, run_tflite: Run
) -> None:
    normalisation = Normalisation(127.5, 127.5)
    model = untrained(Network("unet_mini"), normalisation)
    spec = replace(spec, normalisation=normalisation)
    data = to_tflite(model, spec, "float32")
    assert input_details(data)["dtype"] == np.uint8
    counts = operators(data)
    assert (counts["CAST"], counts["MUL"], counts["ADD"]) == (1, 1, 1)
    assert counts["DEQUANTIZE"] == 0
    expected = np.asarray(model.predict(pictures[:2], verbose=0))
    assert abs(run_tflite(data, pictures[:2]) - expected).max() <= LOGIT_TOLERANCE
    with pytest.raises(ConversionError, match=r"mean is 127\.5.*whole pixel value"):
        to_tflite(model, spec, "int8", list(pictures))


# The graph of the files


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # conv1, 11 pointwise, 4 decoder stages, logits; 11 depthwise and 4 in the decoder.
        (Network(alpha=1.0), {"CONV_2D": 17, "DEPTHWISE_CONV_2D": 15, "CONCATENATION": 3}),
        (Network(alpha=0.25), {"CONV_2D": 17, "DEPTHWISE_CONV_2D": 15, "CONCATENATION": 3}),
        # The dense decoder has one stage more, and no depthwise convolution.
        (
            Network(decoder="dense", alpha=0.25),
            {"CONV_2D": 18, "DEPTHWISE_CONV_2D": 11, "CONCATENATION": 3},
        ),
        (Network("unet_mini"), {"CONV_2D": 11, "MAX_POOL_2D": 2, "CONCATENATION": 2}),
        # Conv1, 13 expand and project; 13 depthwise; 8 residuals. The decoder has 5 and 4.
        (
            Network(encoder="mobilenet_v2", alpha=0.35),
            {"CONV_2D": 32, "DEPTHWISE_CONV_2D": 17, "ADD": 8, "CONCATENATION": 3},
        ),
        # conv, 8 expand and project, 6 times two of squeeze and excitation; 8 depthwise. The gate
        # is a convolution with RELU6 and a multiplication by 1/6.
        (
            Network(encoder="mobilenet_v3_small", alpha=0.75),
            {"CONV_2D": 34, "DEPTHWISE_CONV_2D": 12, "ADD": 4, "CONCATENATION": 3}
            | {"HARD_SWISH": 12, "MEAN": 6, "MUL": 12},
        ),
        (
            Network(encoder="mobilenet_v3_large", alpha=0.75),
            {"CONV_2D": 40, "DEPTHWISE_CONV_2D": 16, "ADD": 8, "CONCATENATION": 3}
            | {"HARD_SWISH": 14, "MEAN": 5, "MUL": 10},
        ),
    ],
    ids=["separable-1.0", "separable-0.25", "dense-0.25", "mini", "v2", "v3-small", "v3-large"],
)
@pytest.mark.slow
def test_every_network_is_one_partition_of_the_fewest_operators(
    untrained: Callable[..., Any],
    converted: Converted,
    calibration: list[Pictures],
    run_tflite: Run,
    network: Network,
    expected: dict[str, int],
    precision: Precision,
) -> None:
    data = converted(network, "tflite", precision)
    # In int8 of three classes the head stays in float, after a DEQUANTIZE.
    ends = {"DEQUANTIZE": 1} if precision == "float32" else {"DEQUANTIZE": 1, "QUANTIZE": 1}
    if precision == "int8" and network.architecture != "unet_mini":
        # Around the first layers in float: V1 has two skips there, V3 a hard-swish in int8.
        more = {"mobilenet_v1": (1, 3), "mobilenet_v2": (1, 1)}.get(network.encoder, (2, 2))
        ends = {"DEQUANTIZE": 1 + more[0], "QUANTIZE": 1 + more[1]}
    resizes = 2 if network.architecture == "unet_mini" else 4
    counts = operators(data)
    if precision == "int8" and "HARD_SWISH" in expected:
        # In steps: x * relu6(x - -3) * 1/6; some factors 1/6 are folded into the next kernel.
        swishes = expected["HARD_SWISH"]
        assert counts["MUL"] - expected["MUL"] in range(swishes, 2 * swishes + 1)
        expected = expected | {"SUB": swishes, "MUL": counts["MUL"], "HARD_SWISH": 0}
    assert counts == Counter(expected | ends | {"RESIZE_BILINEAR": resizes})
    assert partitions(data) == 1
    pictures = np.stack(calibration[:2])
    logits = np.asarray(untrained(network).predict(pictures, verbose=0))
    error = run_tflite(data, pictures) - logits
    if precision == "float32":
        assert abs(error).max() <= LOGIT_TOLERANCE
    else:  # see assert_int8_close
        assert np.sqrt((error**2).mean()) <= 0.1 * np.sqrt((logits**2).mean())


def test_hard_swish_in_steps_is_hard_swish(
    untrained: Callable[..., Any], trained: Any, pictures: Pictures
) -> None:
    model = untrained(Network(encoder="mobilenet_v3_small", alpha=0.75))
    copy = spell_out_hard_swish(model)
    kinds = [type(layer).__name__ for layer in copy.layers]
    assert kinds.count("_HardSwishInParts") == 12
    assert kinds.count("Activation") == 5 + 6  # ReLU and the gates
    expected = np.asarray(model(pictures[:2], training=False))
    assert abs(np.asarray(copy(pictures[:2], training=False)) - expected).max() <= LOGIT_TOLERANCE
    assert spell_out_hard_swish(trained) is trained


@pytest.mark.slow
def test_float16_of_hard_swish_is_one_partition(
    untrained: Callable[..., Any], spec: ModelSpec, pictures: Pictures, run_tflite: Run
) -> None:
    model = untrained(Network(encoder="mobilenet_v3_small", alpha=0.75))
    data = to_tflite(model, spec, "float16")
    assert partitions(data) == 1
    logits = np.asarray(model.predict(pictures[:2], verbose=0))
    rms = np.sqrt((logits**2).mean())
    # Weights of 11 bits over 46 layers; see test_float16_keeps_999_of_1000_labels.
    error = np.sqrt(((run_tflite(data, pictures[:2]) - logits) ** 2).mean())
    assert error <= 3 * np.sqrt(46) / 4096 * rms


def test_an_operator_without_xnnpack_kernel_splits_the_partition() -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 4), tf.float32)])
    def sandwich(x: Any) -> Any:
        kernel = tf.ones((3, 3, 4, 4))
        x = tf.nn.conv2d(x, kernel, 1, "SAME")
        x = tf.cumsum(x, axis=1)  # TFLite's own kernel runs it, between two partitions
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    concrete = [sandwich.get_concrete_function()]
    data = tf.lite.TFLiteConverter.from_concrete_functions(concrete, sandwich).convert()
    assert partitions(data) == 2
    assert outside_xnnpack(data) == {"CUMSUM": 1}
    assert slow_parts(data, ("tflite", "float32")) == (
        "XNNPACK has no kernel for CUMSUM (1); it runs the rest in 2 partitions"
    )


def test_input_and_output_have_names_types_and_fixed_shapes(
    trained: Any, spec: ModelSpec, calibration: list[Pictures], float32: bytes, int8: bytes
) -> None:
    full_integer = to_tflite(trained, spec, "int8", calibration, float_layers=())
    # Scores of three classes stay in float32 unless every layer is rounded.
    for data, dtype in ((float32, np.float32), (int8, np.float32), (full_integer, np.uint8)):
        interpreter = Interpreter(model_content=data)
        assert interpreter.get_signature_list() == {
            "serving_default": {"inputs": ["pixels"], "outputs": ["logits"]}
        }
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert (source["name"], source["dtype"]) == ("pixels", np.uint8)
        assert (target["name"], target["dtype"]) == ("logits", dtype)
        assert source["shape_signature"].tolist() == [1, 64, 64, 3]
        assert target["shape_signature"].tolist() == [1, 64, 64, 3]


def test_a_grid_may_be_wider_than_high(
    trained: Any, spec: ModelSpec, pictures: Pictures, run_tflite: Run
) -> None:
    wide = pictures[:2, :48]
    data = to_tflite(trained, replace(spec, height=48), "float32")
    # Not `predict`: for a second size it traces free dimensions, which UpSampling2D refuses.
    expected = np.asarray(trained(wide, training=False))
    assert abs(run_tflite(data, wide) - expected).max() <= LOGIT_TOLERANCE


def test_int8_weights_have_a_scale_for_each_channel(int8: bytes) -> None:
    model = schema.ModelT.InitFromPackedBuf(int8, 0)
    (graph,) = model.subgraphs
    code = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    kernels = [
        graph.tensors[operator.inputs[1]]
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == code
    ]
    assert len(kernels) == 15
    for kernel in kernels[:4]:  # the first layers are in float
        assert kernel.type == schema.TensorType.FLOAT32
    for kernel in kernels[4:]:
        assert kernel.type == schema.TensorType.INT8
        assert len(kernel.quantization.scale) == kernel.shape[-1]


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(
    trained: Any, spec: ModelSpec, calibration: list[Pictures], float32: bytes, int8: bytes
) -> None:
    assert to_tflite(trained, spec, "float32") == float32
    assert to_tflite(trained, spec, "int8", calibration) == int8


def test_a_network_trained_in_mixed_precision_is_exported_in_float32(
    spec: ModelSpec, pictures: Pictures, run_tflite: Run
) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(Network("unet_mini"), 3, Normalisation())
    finally:
        keras.config.set_dtype_policy("float32")
    copy = as_float32(model)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in model.layers}
    expected = np.asarray(copy.predict(pictures[:2], verbose=0))
    scores = run_tflite(to_tflite(model, spec, "float32"), pictures[:2])
    assert abs(scores - expected).max() <= LOGIT_TOLERANCE


def test_converting_prints_nothing(
    trained: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    to_tflite(trained, spec, "int8", calibration[:2])
    assert capfd.readouterr() == ("", "")
    assert len(recwarn) == 0


# Refusals


def test_int8_refuses_missing_or_wrong_calibration_pictures(trained: Any, spec: ModelSpec) -> None:
    with pytest.raises(ConversionError, match="needs calibration pictures"):
        to_tflite(trained, spec, "int8")
    small = np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(ConversionError, match=r"uint8 \(32, 64, 3\); expected uint8 \(64, 64, 3\)"):
        to_tflite(trained, spec, "int8", [small])
    floats: Any = np.zeros((64, 64, 3), np.float32)
    with pytest.raises(ConversionError, match="float32"):
        to_tflite(trained, spec, "int8", [floats])


def test_an_unknown_precision_lists_the_choices(trained: Any, spec: ModelSpec) -> None:
    unknown: Any = "int4"
    with pytest.raises(ConversionError, match="'int4'; choose one of float32, float16, dyn"):
        to_tflite(trained, spec, unknown)


def test_a_size_that_is_no_multiple_of_the_stride_is_refused(trained: Any, spec: ModelSpec) -> None:
    with pytest.raises(ConversionError, match="72x64"):
        to_tflite(trained, replace(spec, height=72), "float32")


def test_a_contract_with_other_classes_is_refused(trained: Any, spec: ModelSpec) -> None:
    other = ModelSpec(spec.height, spec.width, ("background", "disc"))
    with pytest.raises(ConversionError, match=r"expected \(1, 64, 64, 2\)"):
        to_tflite(trained, other, "float32")


def test_a_foreign_model_is_refused(spec: ModelSpec) -> None:
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(3, 1)(pixels))
    with pytest.raises(ConversionError, match="no layer named 'normalise'"):
        to_tflite(model, spec, "float32")


def test_an_operator_that_the_format_lacks_is_named_with_its_layer(
    with_igamma: Any, spec: ModelSpec
) -> None:
    with pytest.raises(ConversionError, match=r"LiteRT does not have Igamma in .*/strange"):
        to_tflite(with_igamma, spec, "float32")


def test_another_keras_backend_is_refused_with_the_fix() -> None:
    require_tensorflow("tensorflow")
    with pytest.raises(ConversionError, match=r"runs on jax; .*; set KERAS_BACKEND=tensorflow"):
        require_tensorflow("jax")


def test_importing_the_package_is_light() -> None:
    code = "import converters, sys; print({'tensorflow', 'onnx', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
