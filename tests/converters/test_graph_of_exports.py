"""The graphs of converted files, as `read_graph` and the formats' own libraries read them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.onnx.conversion import OnnxPrecision, to_onnx
from converters.tflite.check import operators, partitions
from converters.tflite.conversion import to_tflite
from unet_edge.errors import ModelFileError
from unet_edge.model_files.embedded_contract import Format, Precision
from unet_edge.model_files.read_graph import TensorInfo, TFLiteGraph, read_graph
from unet_edge.model_files.runtime_support import runtime_support
from unet_edge.spec import ModelSpec, Normalisation, Output
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]
Converted = Callable[[Network, Format, Precision], bytes]

NETWORKS = [
    Network(alpha=0.25),
    Network(decoder="dense", alpha=0.25),
    Network("unet_mini"),
    Network(encoder="mobilenet_v3_small", alpha=0.75),
]
# Convolutions of each; tflite/test_conversion.py and onnx/test_conversion.py count them.
CONVOLUTIONS = (32, 29, 11, 46)
# Without slow tests, the narrow separable network represents the others.
CASES = [
    pytest.param(network, count, marks=[pytest.mark.slow] if index else [])
    for index, (network, count) in enumerate(zip(NETWORKS, CONVOLUTIONS, strict=True))
]
PIXELS = TensorInfo("pixels", "uint8", (1, 64, 64, 3), 1 / 128, 128)


def versions(data: bytes) -> Counter[tuple[str, int]]:
    """(operator, version) as LiteRT's generated schema reads them."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    codes = [(names[code.builtinCode], code.version) for code in model.operatorCodes]
    return Counter(codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize(("network", "convolutions"), CASES)
def test_tflite(
    converted: Converted,
    network: Network,
    convolutions: int,
    precision: Precision,
) -> None:
    data = converted(network, "tflite", precision)
    graph = read_graph(data, "tflite", "m")
    assert isinstance(graph, TFLiteGraph)
    counts: Counter[str] = Counter()
    for op in graph.operators:
        counts[op.name] += op.count
    assert counts == operators(data)
    assert {(op.name, op.version): op.count for op in graph.operators} == versions(data)
    expected = {precision: convolutions}
    if precision == "int8":
        # Three classes: the head's kernel stays in float. So do the first eight convolutions if
        # full and depthwise ones alternate, or else the stem's two; unet_mini has no stem.
        in_float = 1
        if network.architecture != "unet_mini":
            in_float += 8 if network.encoder == "mobilenet_v1" else 2
        expected = {"int8 per channel": convolutions - in_float, "float32": in_float}
    elif precision == "float16":
        in_float = counts["DEPTHWISE_CONV_2D"] + 2  # and the first and the last kernel
        expected = {"float16": convolutions - in_float, "float32": in_float}
    assert graph.kernels == expected
    assert graph.inputs == (PIXELS,)
    (logits,) = graph.outputs
    assert (logits.name, logits.shape) == ("logits", (1, 64, 64, 3))
    assert (logits.dtype, logits.scale) == ("float32", None)
    assert graph.min_runtime_version is not None
    support = runtime_support(graph)
    assert str(support) == "tflite-runtime 2.14, ai-edge-litert 1.2 or later"
    assert not support.refused_by


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize(("network", "convolutions"), CASES)
def test_onnx(
    converted: Converted,
    network: Network,
    convolutions: int,
    precision: OnnxPrecision,
) -> None:
    data = converted(network, "onnx", precision)
    graph = read_graph(data, "onnx", "m")
    proto = onnx.load_from_string(data)
    expected = Counter(node.op_type for node in proto.graph.node)
    assert {op.name: op.count for op in graph.operators} == expected
    kernels = {{"int8": "int8 per channel"}.get(precision, precision): convolutions}
    if precision == "float16":
        convs = [node for node in proto.graph.node if node.op_type == "Conv"]
        groups = [onnx.helper.get_node_attr_value(node, "group") for node in convs]
        in_float = 2 + sum(count > 1 for count in groups)
        kernels = {"float16": convolutions - in_float, "float32": in_float}
    assert graph.kernels == kernels
    assert graph.inputs == (PIXELS,)
    assert graph.outputs == (TensorInfo("logits", "float32", (1, 64, 64, 3)),)
    support = runtime_support(graph)
    assert str(support) == "onnxruntime 1.8 or later"
    assert not support.refused_by


# The default network: conv1, 11 depthwise and pointwise pairs, 4 pairs in the decoder, logits.
# Each convolution is one operator, with its BatchNorm, padding and (in TFLite) ReLU6. There are 4
# upsamplings and 3 skips, and no other computation.
HAND_WRITTEN = {
    "tflite": {"CONV_2D": 17, "DEPTHWISE_CONV_2D": 15, "RESIZE_BILINEAR": 4, "CONCATENATION": 3},
    "onnx": {"Conv": 32, "Clip": 31, "Resize": 4, "Concat": 3},
}
# The operators that input, output and storage add. In float, one operator normalises the pixels; in
# int8, a QUANTIZE shifts their zero point. With three classes, the first layers and the head are in
# float: a DEQUANTIZE precedes each, and a QUANTIZE follows the first layers and their two skips. In
# float16, an operator unpacks each kernel of 15 pointwise convolutions.
ADDED: dict[tuple[Format, Precision], dict[str, int]] = {
    ("tflite", "float32"): {"DEQUANTIZE": 1},
    ("tflite", "float16"): {"DEQUANTIZE": 1 + 15},
    ("tflite", "int8"): {"QUANTIZE": 4, "DEQUANTIZE": 2},
    ("onnx", "float32"): {"DequantizeLinear": 1, "Transpose": 2},
    ("onnx", "float16"): {"DequantizeLinear": 1, "Transpose": 2, "Cast": 15},
    # QDQ: a pair after each tensor between two operators; kernels, biases and pixels are stored
    # quantised. onnxruntime fuses the pairs when it loads the file.
    ("onnx", "int8"): {"Transpose": 2},
}
LABELS: dict[Format, dict[str, int]] = {
    "tflite": {"ARG_MAX": 1, "CAST": 1},
    "onnx": {"ArgMax": 1, "Cast": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("output", ["logits", "labels"])
@pytest.mark.parametrize("kind", list(ADDED), ids="-".join)
def test_the_default_network_is_as_small_as_one_written_by_hand(
    untrained: Callable[..., Any],
    spec: ModelSpec,
    calibration: list[Pictures],
    kind: tuple[Format, Precision],
    output: Output,
) -> None:
    file_format, precision = kind
    spec = replace(spec, output=output)
    to = {"tflite": to_tflite, "onnx": to_onnx}[file_format]
    data = to(untrained(Network()), spec, precision, calibration[:2] if precision == "int8" else ())
    counts: Counter[str] = Counter()
    for op in read_graph(data, file_format, "m").operators:
        counts[op.name] += op.count
    expected = Counter(HAND_WRITTEN[file_format]) + Counter(ADDED[kind])
    if output == "labels":
        expected += Counter(LABELS[file_format])
        # The arg-max needs no Transpose to NHWC.
        expected -= Counter({"Transpose": 1})
    if kind == ("onnx", "int8"):
        pairs = counts.pop("QuantizeLinear"), counts.pop("DequantizeLinear")
        # Quantised: 32 outputs of convolutions, 3 resized, 3 joined. Dequantised: the same, the
        # pixels, 32 kernels and 32 biases. The range of uint8 replaces the Clip.
        assert pairs == (32 + 3 + 3, 38 + 1 + 32 + 32)
        del expected["Clip"]
    assert counts == expected
    if file_format == "tflite":
        assert partitions(data) == 1


def test_a_mean_between_two_pixel_values(untrained: Callable[..., Any], spec: ModelSpec) -> None:
    normalisation = Normalisation(127.5, 127.5)
    model = untrained(Network("unet_mini"), normalisation)
    spec = replace(spec, normalisation=normalisation)
    for graph, oldest in (
        (read_graph(to_tflite(model, spec, "float32"), "tflite", "m"), "tflite-runtime 2.14"),
        (read_graph(to_onnx(model, spec, "float32"), "onnx", "m"), "onnxruntime 1.8 or later"),
    ):
        assert str(runtime_support(graph).runs_on[0]) == oldest
        assert (graph.inputs[0].dtype, graph.inputs[0].scale) == ("uint8", None)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_damaged_export_is_read_or_gives_a_model_file_error(
    converted: Converted, file_format: Format
) -> None:
    intact, rng = converted(NETWORKS[0], file_format, "float32"), random.Random(0)
    refused = 0
    for step in range(300):
        data = bytearray(intact)
        if step % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.choice((1, 2, 8))):
            # The graph is at both ends of the file; between them are mostly weights.
            end = rng.choice((rng.randrange(4000), -1 - rng.randrange(12_000)))
            start, size = max(0, min(end % len(intact), len(data) - 4)), rng.choice((1, 2, 4))
            data[start : start + size] = rng.choice((bytes(size), rng.randbytes(size)))
        try:
            str(runtime_support(read_graph(bytes(data), file_format, "m")))
        except ModelFileError:
            refused += 1
    assert refused > 100, "every truncated file must be refused"
