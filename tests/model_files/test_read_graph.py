from __future__ import annotations

import random
import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from unet_edge.errors import ModelFileError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.model_files.read_graph import (
    OnnxGraph,
    Operator,
    TensorInfo,
    TFLiteGraph,
    read_graph,
)
from unet_edge.model_files.runtime_support import runtime_support
from unet_edge.model_files.tflite_graph import BUILTINS

Make = Callable[..., bytes]


def read_tflite(data: bytes) -> TFLiteGraph:
    graph = read_graph(data, "tflite", "m.tflite")
    assert isinstance(graph, TFLiteGraph)
    return graph


def read_onnx(data: bytes) -> OnnxGraph:
    graph = read_graph(data, "onnx", "m.onnx")
    assert isinstance(graph, OnnxGraph)
    return graph


def test_a_tflite_graph(tflite: Make) -> None:
    data = tflite(("CONV_2D", 3), ("ADD", 2), ("CONV_2D", 5), min_runtime_version=b"2.11.0\0\0")
    assert read_tflite(data) == TFLiteGraph(
        operators=(Operator("ADD", 1, 2), Operator("CONV_2D", 1, 3), Operator("CONV_2D", 1, 5)),
        inputs=(TensorInfo("pixels", "uint8", (1, 2, 2, 3), 0.5, 7),),
        outputs=(TensorInfo("logits", "float32", (1, 2, 2, 3)),),
        kernels={"int8 per channel": 1},  # both convolutions share the kernel
        min_runtime_version="2.11.0",
        macs=2 * 4 * 12,  # four positions, each with the whole kernel
    )


@pytest.mark.parametrize(
    ("kind", "scales", "expected"),
    [
        ("INT8", (0.5,), "int8 per tensor"),
        ("INT8", (0.5, 0.5), "int8 per channel"),
        ("FLOAT16", (), "float16"),
        ("FLOAT32", (), "float32"),
        ("INT4", (0.5,), "int4 per tensor"),
    ],
)
def test_how_kernels_are_stored(
    tflite: Make, kind: str, scales: tuple[float, ...], expected: str
) -> None:
    data = tflite(("CONV_2D", 1), kernel=kind, scales=scales)
    assert read_tflite(data).kernels == {expected: 1}


def test_names_of_operators_are_those_of_the_schema() -> None:
    assert {getattr(schema.BuiltinOperator, name): name for name in BUILTINS.values()} == BUILTINS


def test_multiplications_are_counted_by_hand() -> None:
    import keras
    import tensorflow as tf

    x = pixels = keras.Input((8, 6, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)  # 4x3 positions, 3*3*3*4 each
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # 4x3 positions, 3*3*4
    x = keras.layers.Conv2DTranspose(5, 2, strides=2)(x)  # 4x3 positions, 2*2*4*5
    x = keras.layers.Dense(7)(x)  # 8x6 positions, 5*7
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, x))
    expected = 12 * 108 + 12 * 36 + 12 * 80 + 48 * 35
    assert read_tflite(converter.convert()).macs == expected


def test_operators_outside_our_builtins(tflite: Make) -> None:
    assert read_tflite(tflite(("SIN", 1))).operators == (Operator("operator 66", 1, 1),)
    # A custom operator must not look like a built-in one by its name.
    named = read_tflite(tflite(("CUSTOM", 1), custom="ADD"))
    assert named.operators == (Operator("custom ADD", 1, 1),)
    # Codes above 127 are in the newer of the schema's two fields.
    found = read_tflite(tflite(("BROADCAST_TO", 1))).operators
    assert found == (Operator("operator 130", 1, 1),)


@pytest.mark.parametrize("text", [b"", b"\x1b[2J", b"two"])
def test_a_strange_min_runtime_version_is_left_out(tflite: Make, text: bytes) -> None:
    assert read_tflite(tflite(("ADD", 1), min_runtime_version=text)).min_runtime_version is None


def test_an_onnx_graph(onnx_file: Make) -> None:
    assert read_onnx(onnx_file("Relu", "Relu", "com.microsoft.Gelu")) == OnnxGraph(
        operators=(Operator("Relu", 2), Operator("com.microsoft.Gelu", 1)),
        inputs=(TensorInfo("pixels", "uint8", (1, 2, 2, 3)),),
        outputs=(TensorInfo("logits", "float32", (1, 2, 2, 3)),),
        kernels={},
        opset=14,
        ir_version=7,
        can_saturate=False,
    )


def test_a_field_added_to_an_onnx_file_counts_as_in_the_onnx_library(onnx_file: Make) -> None:
    # Protobuf merges a message that occurs twice.
    more = onnx.ModelProto(graph=onnx.GraphProto(node=[onnx.helper.make_node("Neg", ["a"], ["b"])]))
    data = onnx_file("Relu") + more.SerializeToString()
    assert len(onnx.load_from_string(data).graph.node) == 2
    assert read_onnx(data).operators == (Operator("Neg", 1), Operator("Relu", 1))


def test_an_onnx_file_of_too_many_fields_is_refused() -> None:
    data = b"\x08\x0a" + b"\x08\x01" * 200_000
    with pytest.raises(ModelFileError, match="more than 200000 fields"):
        read_graph(data, "onnx", "m.onnx")


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_damaged_bytes_are_refused_or_read(
    tflite: Make, onnx_file: Make, file_format: Format
) -> None:
    whole = {
        "tflite": tflite(("CONV_2D", 3), ("ADD", 2), min_runtime_version=b"2.2.0"),
        "onnx": onnx_file("Conv", "Relu"),
    }[file_format]
    rng = random.Random(0)
    refused = []
    cuts = [whole[:length] for length in range(len(whole))]
    changes = []
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            start, size = rng.randrange(len(data)), rng.choice((1, 2, 4))
            piece = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
            data[start : start + size] = piece
        changes.append(bytes(data))
    for data in cuts + changes:
        try:
            str(runtime_support(read_graph(data, file_format, "m")))
        except ModelFileError as error:
            refused.append(str(error))
    # Every cut and about half of the changes damage the structure; others change a number or name.
    assert len(refused) > 1000
    assert all(re.fullmatch(r"m: its graph cannot be read \(.*again", r) for r in refused)


def test_valid_files_of_other_programs_are_read() -> None:
    """A sequence as input, an output without a type, a scalar kept elsewhere, a long name."""
    elsewhere = TensorProto(name="zero", data_type=TensorProto.UINT8, dims=[])
    elsewhere.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [
            helper.make_node("SequenceAt", ["pixels", "zero"], ["x" * 2000]),
            helper.make_node("DequantizeLinear", ["x" * 2000, "scale", "zero"], ["logits"]),
        ],
        "unet",
        [helper.make_tensor_sequence_value_info("pixels", TensorProto.FLOAT, (1, 3))],
        [ValueInfoProto(name="logits")],
        [elsewhere, numpy_helper.from_array(np.array(0.5, np.float32), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    found = read_graph(model.SerializeToString(), "onnx", "m")
    assert [port.dtype for port in (*found.inputs, *found.outputs)] == ["unknown", "unknown"]
    assert {operator.name: operator.count for operator in found.operators} == {
        "SequenceAt": 1,
        "DequantizeLinear": 1,
    }
