from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from converters.onnx.conversion import OnnxPrecision, to_onnx
from converters.onnx.float16 import halve_kernels
from unet_edge.errors import ConversionError
from unet_edge.model_files.embedded_contract import Format, Precision
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]
Run = Callable[[bytes, Pictures], Logits]
Converted = Callable[[Network, Format, Precision], bytes]

LOGIT_TOLERANCE = 1e-3  # derived in tflite/test_conversion.py


@pytest.fixture(scope="module")
def float32(trained: Any, spec: ModelSpec) -> bytes:
    return to_onnx(trained, spec, "float32")


@pytest.fixture(scope="module")
def int8(trained: Any, spec: ModelSpec, calibration: list[Pictures]) -> bytes:
    return to_onnx(trained, spec, "int8", calibration)


@pytest.fixture(scope="module")
def float16(trained: Any, spec: ModelSpec) -> bytes:
    return to_onnx(trained, spec, "float16")


def operators(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


def constants(data: bytes) -> dict[str, NDArray[Any]]:
    graph = onnx.load_from_string(data).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


# The scores of the files


def test_float32_is_the_keras_model(
    float32: bytes, pictures: Pictures, reference: Logits, run_onnx: Run
) -> None:
    logits = run_onnx(float32, pictures)
    assert logits.dtype == np.float32
    assert abs(logits - reference).max() <= LOGIT_TOLERANCE
    # 99.999 % of 131,072 pixels must agree: one may differ.
    assert (logits.argmax(-1) != reference.argmax(-1)).sum() <= 1


def test_float16_is_float32_with_kernels_of_11_bits(
    float32: bytes, float16: bytes, pictures: Pictures, reference: Logits, run_onnx: Run
) -> None:
    before, after = constants(float32), constants(float16)
    kernels = [name for name, value in before.items() if value.ndim == 4]
    assert len(kernels) == 32
    # Depthwise kernels, which have one input channel, and the first and the last kernel stay.
    wide = [name for name in kernels[1:-1] if before[name].shape[1] > 1]
    for name in set(kernels) - set(wide):
        np.testing.assert_array_equal(after[name], before[name])
    stored = [value for value in after.values() if value.dtype == np.float16]
    for name, half in zip(wide, stored, strict=True):
        np.testing.assert_array_equal(half, before[name].astype(np.float16))
    assert operators(float16) == operators(float32) | {"Cast": 15}
    logits = run_onnx(float16, pictures)
    assert logits.dtype == np.float32
    # Weights of 11 bits: the bound that test_float16_keeps_999_of_1000_labels derives.
    rms = np.sqrt((reference**2).mean())
    assert np.sqrt(((logits - reference) ** 2).mean()) <= 3 * 0.0013 * rms
    assert (logits.argmax(-1) == reference.argmax(-1)).mean() >= 0.999


def test_onnxruntime_folds_every_cast_of_float16(float16: bytes, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(float16, options, providers=["CPUExecutionProvider"])
    loaded = (tmp_path / "loaded.onnx").read_bytes()
    assert operators(loaded)["Cast"] == 0
    assert {v.dtype for v in constants(loaded).values() if v.ndim == 4} == {np.dtype(np.float32)}


def test_a_weight_beyond_float16_is_refused(float32: bytes) -> None:
    proto = onnx.load_from_string(float32)
    wide = [t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[1] > 1]
    kernel = wide[1]  # the first and the last stay in float32
    kernel.CopyFrom(
        numpy_helper.from_array(np.full(tuple(kernel.dims), 7e4, np.float32), kernel.name)
    )
    with pytest.raises(ConversionError, match=r"70000 does not fit.*--formats onnx-float32"):
        halve_kernels(proto)


def test_int8_stays_within_the_noise_of_8_bits(
    int8: bytes,
    pictures: Pictures,
    reference: Logits,
    run_onnx: Run,
    assert_int8_close: Callable[[Logits, Logits], None],
) -> None:
    assert_int8_close(run_onnx(int8, pictures), reference)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("normalisation", [Normalisation(), Normalisation(100, 50)])
def test_the_normalisation_is_one_operator_on_the_pixels(
    untrained: Callable[..., Any],
    spec: ModelSpec,
    run_onnx: Run,
    precision: OnnxPrecision,
    normalisation: Normalisation,
) -> None:
    model = untrained(Network("unet_mini"), normalisation)
    # Pictures without black and white: the scale must not depend on them.
    pictures = np.random.default_rng(0).integers(90, 160, (2, *spec.size, 3), np.uint8)
    spec = replace(spec, normalisation=normalisation)
    data = to_onnx(model, spec, precision, list(pictures))
    transpose, normalise, third = onnx.load_from_string(data).graph.node[:3]
    assert (transpose.op_type, transpose.input[0]) == ("Transpose", "pixels")
    assert normalise.op_type == "DequantizeLinear"
    assert normalise.input[0] == transpose.output[0]
    scale, zero_point = (constants(data)[name] for name in normalise.input[1:])
    assert scale == np.float32(1 / normalisation.std)
    assert (zero_point, zero_point.dtype) == (normalisation.mean, np.uint8)
    assert third.op_type != "QuantizeLinear"
    expected = np.asarray(model.predict(pictures, verbose=0))
    # In int8, ten layers of noise; see assert_int8_close.
    limit = LOGIT_TOLERANCE if precision == "float32" else 0.1 * np.sqrt((expected**2).mean())
    scores = run_onnx(data, pictures)
    assert np.sqrt(((scores - expected) ** 2).mean()) <= limit


def test_a_mean_between_two_pixel_values_adds_three_operators(
    untrained: Callable[..., Any], spec: ModelSpec, pictures: Pictures, run_onnx: Run
) -> None:
    normalisation = Normalisation(127.5, 127.5)
    model = untrained(Network("unet_mini"), normalisation)
    spec = replace(spec, normalisation=normalisation)
    data = to_onnx(model, spec, "float32")
    nodes = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert nodes[:4] == ["Transpose", "Cast", "Sub", "Mul"]
    expected = np.asarray(model.predict(pictures[:2], verbose=0))
    assert abs(run_onnx(data, pictures[:2]) - expected).max() <= LOGIT_TOLERANCE
    with pytest.raises(ConversionError, match=r"mean is 127\.5.*whole pixel value"):
        to_onnx(model, spec, "int8", list(pictures))


# The graph of the files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # conv1, 11 depthwise and pointwise pairs, 4 pairs in the decoder, logits.
        (Network(alpha=1.0), {"Conv": 32, "Clip": 31, "Resize": 4, "Concat": 3}),
        (Network(alpha=0.25), {"Conv": 32, "Clip": 31, "Resize": 4, "Concat": 3}),
        (Network(decoder="dense", alpha=0.25), {"Conv": 29, "Clip": 28, "Resize": 4, "Concat": 3}),
        (Network("unet_mini"), {"Conv": 11, "Clip": 10, "MaxPool": 2, "Resize": 2, "Concat": 2}),
        # tflite/test_conversion.py counts the layers.
        (
            Network(encoder="mobilenet_v2", alpha=0.35),
            {"Conv": 49, "Clip": 35, "Add": 8, "Resize": 4, "Concat": 3},
        ),
        (
            Network(encoder="mobilenet_v3_small", alpha=0.75),
            {"Conv": 46, "Clip": 8, "Relu": 11, "HardSwish": 12, "Add": 4, "Resize": 4}
            | {"GlobalAveragePool": 6, "HardSigmoid": 6, "Mul": 6, "Concat": 3},
        ),
        (
            Network(encoder="mobilenet_v3_large", alpha=0.75),
            {"Conv": 56, "Clip": 8, "Relu": 16, "HardSwish": 14, "Add": 8, "Resize": 4}
            | {"GlobalAveragePool": 5, "HardSigmoid": 5, "Mul": 5, "Concat": 3},
        ),
    ],
    ids=["separable-1.0", "separable-0.25", "dense-0.25", "mini", "v2", "v3-small", "v3-large"],
)
def test_every_network_has_the_fewest_operators(
    untrained: Callable[..., Any],
    converted: Converted,
    pictures: Pictures,
    run_onnx: Run,
    network: Network,
    expected: dict[str, int],
) -> None:
    data = converted(network, "onnx", "float32")
    # BatchNorm and padding are inside the convolutions.
    assert operators(data) == expected | {"Transpose": 2, "DequantizeLinear": 1}
    logits = np.asarray(untrained(network).predict(pictures[:2], verbose=0))
    assert abs(run_onnx(data, pictures[:2]) - logits).max() <= LOGIT_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        Network(decoder="dense", alpha=0.25),
        Network("unet_mini"),
        Network(encoder="mobilenet_v2", alpha=0.35),
        Network(encoder="mobilenet_v3_small", alpha=0.75),
        Network(encoder="mobilenet_v3_large", alpha=0.75),
    ],
    ids=["dense", "mini", "v2", "v3-small", "v3-large"],
)
def test_every_network_converts_to_int8(
    untrained: Callable[..., Any],
    converted: Converted,
    calibration: list[Pictures],
    run_onnx: Run,
    network: Network,
) -> None:
    pictures = np.stack(calibration[:4])
    expected = np.asarray(untrained(network).predict(pictures, verbose=0))
    scores = run_onnx(converted(network, "onnx", "int8"), pictures)
    error = np.sqrt(((scores - expected) ** 2).mean())
    assert error <= 0.1 * np.sqrt((expected**2).mean())  # see assert_int8_close


def test_input_and_output_have_names_types_and_fixed_shapes(
    float32: bytes, float16: bytes, int8: bytes
) -> None:
    for data in (float32, float16, int8):
        graph = onnx.load_from_string(data).graph
        ends = [
            (
                value.name,
                value.type.tensor_type.elem_type,
                [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            )
            for value in (*graph.input, *graph.output)
        ]
        assert ends == [
            ("pixels", TensorProto.UINT8, [1, 64, 64, 3]),
            ("logits", TensorProto.FLOAT, [1, 64, 64, 3]),
        ]


def test_fewer_bits_make_smaller_files(float32: bytes, float16: bytes, int8: bytes) -> None:
    assert len(float32) > 1.5 * len(float16)
    assert len(float16) > len(int8)


def test_older_runtimes_can_read_the_files(float32: bytes, float16: bytes, int8: bytes) -> None:
    for data in (float32, float16, int8):
        proto = onnx.load_from_string(data)
        assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 14)]
        assert proto.ir_version <= 10
        assert all(t.data_location == TensorProto.DEFAULT for t in proto.graph.initializer)


def test_upsampling_is_half_pixel_bilinear(float32: bytes) -> None:
    for node in onnx.load_from_string(float32).graph.node:
        if node.op_type == "Resize":
            attributes = {a.name: a.s for a in node.attribute if a.s}
            assert attributes["mode"] == b"linear"
            assert attributes["coordinate_transformation_mode"] == b"half_pixel"


def test_int8_weights_have_a_scale_for_each_channel(int8: bytes) -> None:
    proto = onnx.load_from_string(int8)
    values = constants(int8)
    made_by = {node.output[0]: node for node in proto.graph.node}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 32
    for node in convolutions:
        picture, kernel = (made_by[name] for name in node.input[:2])
        assert picture.op_type == "DequantizeLinear"
        assert values[picture.input[2]].dtype == np.uint8
        assert values[kernel.input[0]].dtype == np.int8
        assert values[kernel.input[1]].shape == values[kernel.input[0]].shape[:1]


def test_int8_scores_are_float_after_the_last_convolution(int8: bytes) -> None:
    nodes = [node.op_type for node in onnx.load_from_string(int8).graph.node]
    last = max(i for i, kind in enumerate(nodes) if kind == "Conv")
    assert nodes[last + 1 :] == ["QuantizeLinear", "DequantizeLinear", "Resize", "Transpose"]


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(
    trained: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    float32: bytes,
    float16: bytes,
    int8: bytes,
) -> None:
    assert to_onnx(trained, spec, "float32") == float32
    assert to_onnx(trained, spec, "float16") == float16
    assert to_onnx(trained, spec, "int8", calibration) == int8


def test_no_name_comes_from_a_counter_of_the_libraries(float32: bytes) -> None:
    graph = onnx.load_from_string(float32).graph
    # Names count from zero within each kind of node, in every conversion of a process.
    assert [node.name for node in graph.node if node.op_type == "Conv"] == [
        f"Conv_{index}" for index in range(32)
    ]
    assert {tensor.name.split("_")[0] for tensor in graph.initializer} == {
        "DequantizeLinear",
        "Conv",
        "Clip",
        "Resize",
    }


def test_converting_prints_nothing(
    trained: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    to_onnx(trained, spec, "int8", calibration[:2])
    assert capfd.readouterr() == ("", "")
    assert len(recwarn) == 0


# Refusals


def test_int8_without_pictures_is_refused(trained: Any, spec: ModelSpec) -> None:
    with pytest.raises(ConversionError, match="needs calibration pictures"):
        to_onnx(trained, spec, "int8")


def test_an_unknown_precision_lists_the_choices(trained: Any, spec: ModelSpec) -> None:
    unknown: Any = "int4"
    with pytest.raises(ConversionError, match="'int4'; choose one of float32, float16, int8"):
        to_onnx(trained, spec, unknown)


def test_a_contract_with_other_classes_is_refused(trained: Any, spec: ModelSpec) -> None:
    other = ModelSpec(spec.height, spec.width, ("background", "disc"))
    with pytest.raises(ConversionError, match=r"\(1, 64, 64, 3\).*expected \(1, 64, 64, 2\)"):
        to_onnx(trained, other, "float32")


def test_an_operator_that_the_format_lacks_is_named_with_its_layer(
    with_igamma: Any, spec: ModelSpec
) -> None:
    with pytest.raises(ConversionError, match=r"holds Igamma in .*/strange"):
        to_onnx(with_igamma, spec, "float32")
