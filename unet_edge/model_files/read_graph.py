"""The graph of a .tflite or .onnx file, read without TensorFlow, onnx or an interpreter."""

from __future__ import annotations

import struct
from typing import assert_never

from unet_edge.errors import ModelFileError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.model_files.graph import (
    SATURATES,
    Graph,
    OnnxGraph,
    Operator,
    TensorInfo,
    TFLiteGraph,
)

__all__ = [
    "SATURATES",
    "Graph",
    "OnnxGraph",
    "Operator",
    "TFLiteGraph",
    "TensorInfo",
    "read_graph",
]


def read_graph(data: bytes, file_format: Format, name: str) -> TFLiteGraph | OnnxGraph:
    """Read the graph of a model file's bytes, in bounded time and memory; errors use `name`.

    Raises ModelFileError when the bytes cannot be read.
    """
    try:
        # Here, not at the top: a file of one format does not need the reader of the other.
        match file_format:
            case "tflite":
                from unet_edge.model_files.tflite_graph import read_tflite

                return read_tflite(data)
            case "onnx":
                from unet_edge.model_files.onnx_graph import read_onnx

                return read_onnx(data)
            case _:
                assert_never(file_format)
    except (ValueError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise ModelFileError(
            f"{name}: its graph cannot be read ({error})",
            fix="if unet-edge exported it, it is damaged: copy or export it again",
        ) from error
