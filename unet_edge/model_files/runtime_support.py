"""Which runtimes can run a graph, by tables that were measured with the runtimes themselves.

TFLite: an interpreter knows each operator up to a version, and refuses a file that asks for a
newer one. The columns were read off the interpreters by files of one operator each; in TFLite's
source the numbers stand in `register.cc` (AddBuiltin: min_version, max_version).

ONNX: a release knows opsets and file formats (IR versions) up to a number. Read off the newest
patch release of each minor one, 1.4 to 1.32; a release that adds nothing has no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from unet_edge.model_files.graph import OnnxGraph, Operator, TFLiteGraph

#: tflite-runtime's last release, the oldest and a recent ai-edge-litert.
TFLITE_RUNTIMES = ("tflite-runtime 2.14", "ai-edge-litert 1.2", "ai-edge-litert 2.3")

#: Each operator's newest version in each of these; the oldest is 1 in all of them.
TFLITE_VERSIONS = {
    "ADD": (5, 5, 6),
    "ARG_MAX": (3, 3, 3),
    "AVERAGE_POOL_2D": (3, 3, 3),
    "CAST": (5, 7, 9),
    "CONCATENATION": (4, 4, 7),
    "CONV_2D": (7, 8, 8),
    "DEPTHWISE_CONV_2D": (7, 7, 7),
    "DEQUANTIZE": (5, 6, 9),
    "FULLY_CONNECTED": (10, 13, 14),
    "HARD_SWISH": (1, 1, 1),
    "LOGISTIC": (3, 3, 3),
    "MAX_POOL_2D": (3, 3, 3),
    "MEAN": (3, 3, 3),
    "MUL": (7, 7, 8),
    "PAD": (4, 4, 6),
    "QUANTIZE": (3, 3, 6),
    "RELU": (3, 3, 3),
    "RELU6": (3, 3, 3),
    "RESHAPE": (1, 1, 1),
    "RESIZE_BILINEAR": (4, 4, 4),
    "RESIZE_NEAREST_NEIGHBOR": (4, 4, 4),
    "SOFTMAX": (3, 3, 4),
    "STRIDED_SLICE": (8, 8, 8),
    "SUB": (5, 5, 5),
    "TRANSPOSE": (6, 7, 9),
    "TRANSPOSE_CONV": (4, 5, 5),
}

#: (onnxruntime, newest opset, newest IR version), oldest first.
ONNXRUNTIMES = (
    ("1.4", 12, 7),
    ("1.6", 13, 7),
    ("1.8", 14, 7),
    ("1.9", 15, 8),
    ("1.11", 16, 8),
    ("1.12", 17, 8),
    ("1.14", 18, 8),
    ("1.15", 19, 9),
    ("1.17", 20, 9),
    ("1.18", 21, 10),
    ("1.21", 22, 10),
    ("1.23", 23, 11),
    ("1.24", 25, 13),
    ("1.25", 26, 13),
    ("1.32", 28, 14),
)
OLDEST_OPSET = 7  # https://onnxruntime.ai/docs/reference/compatibility.html

#: ONNX operators that our converters may emit, all of opset 14 or older.
ONNX_OPERATORS = frozenset(
    {
        "Add", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose",
        "DequantizeLinear", "GlobalAveragePool", "Greater", "HardSigmoid", "HardSwish", "MaxPool",
        "Mul", "QuantizeLinear", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Softmax",
        "Split", "Squeeze", "Sub", "Transpose",
    }
)  # fmt: skip


@dataclass(frozen=True)
class RuntimeSupport:
    """Where a file runs. `runs_on` is empty whenever something in it is unknown.

    `refused_by` holds each runtime that refuses it with the reason, `unknown` what the tables do
    not know.
    """

    runs_on: tuple[str, ...]
    refused_by: dict[str, str]
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        if self.unknown:
            return f"unknown: {', '.join(self.unknown)}"
        return ", ".join(self.runs_on) or "no runtime of the table"


def runtime_support(graph: TFLiteGraph | OnnxGraph) -> RuntimeSupport:
    """Hold a graph against the tables. The proof on a device remains `unet-edge verify`."""
    match graph:
        case TFLiteGraph():
            return _tflite(graph)
        case OnnxGraph():
            return _onnx(graph)
        case _:
            assert_never(graph)


def _tflite(graph: TFLiteGraph) -> RuntimeSupport:
    unknown = tuple(
        _spell(op)
        for op in graph.operators
        if op.name not in TFLITE_VERSIONS or (op.version or 0) < 1
    )
    refused: dict[str, str] = {}
    for column, runtime in enumerate(TFLITE_RUNTIMES):
        newer = [
            f"{_spell(op)} (it has up to {TFLITE_VERSIONS[op.name][column]})"
            for op in graph.operators
            if op.name in TFLITE_VERSIONS and (op.version or 0) > TFLITE_VERSIONS[op.name][column]
        ]
        if newer:
            refused[runtime] = ", ".join(newer)
    if unknown:
        return RuntimeSupport((), refused, unknown)
    last, *litert = TFLITE_RUNTIMES
    runs = [last] if last not in refused else []
    # Versions only grow, so the first that runs it speaks for the later ones.
    runs += [f"{runtime} or later" for runtime in litert if runtime not in refused][:1]
    return RuntimeSupport(tuple(runs), refused, ())


def _onnx(graph: OnnxGraph) -> RuntimeSupport:
    unknown = [op.name for op in graph.operators if op.name not in ONNX_OPERATORS]
    newest, opset, ir_version = ONNXRUNTIMES[-1]
    if graph.opset is None or graph.opset < OLDEST_OPSET:
        unknown.append(f"opset {graph.opset} (onnxruntime promises {OLDEST_OPSET} and newer)")
    elif graph.opset > opset or graph.ir_version > ir_version:
        unknown.append(
            f"opset {graph.opset}, IR {graph.ir_version} "
            f"(onnxruntime {newest} has up to opset {opset}, IR {ir_version})"
        )
    if unknown:
        return RuntimeSupport((), {}, tuple(unknown))
    assert graph.opset is not None
    oldest = next(r for r, o, ir in ONNXRUNTIMES if o >= graph.opset and ir >= graph.ir_version)
    return RuntimeSupport((f"onnxruntime {oldest} or later",), {}, ())


def _spell(operator: Operator) -> str:
    return f"{operator.name} version {operator.version}"
