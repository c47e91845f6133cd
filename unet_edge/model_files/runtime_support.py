"""Which runtimes support a graph, by tables measured with the runtimes themselves.

TFLite: an interpreter supports each operator up to a version, and refuses files with newer ones.
The columns were measured with files of one operator each. TFLite's source has the numbers in
`register.cc` (AddBuiltin: min_version, max_version).

ONNX: a release supports opsets and file formats (IR versions) up to a number. The rows were
measured with the newest patch of each minor release, 1.4 to 1.32. Releases that add nothing have no
row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from unet_edge.model_files.graph import OnnxGraph, Operator, TFLiteGraph


@dataclass(frozen=True)
class Release:
    """A release of an interpreter, by pip's name; with `and_later`, every later release too."""

    package: str
    version: str
    and_later: bool = False

    def __str__(self) -> str:
        return f"{self.package} {self.version}" + (" or later" if self.and_later else "")


#: tflite-runtime's last release, the oldest and a recent ai-edge-litert.
TFLITE_RUNTIMES = (
    Release("tflite-runtime", "2.14"),
    Release("ai-edge-litert", "1.2"),
    Release("ai-edge-litert", "2.3"),
)

#: The newest version of each operator in each of these releases; the oldest version is always 1.
TFLITE_VERSIONS = {
    "ABS": (5, 5, 5),
    "ADD": (5, 5, 6),
    "ARG_MAX": (3, 3, 3),
    "AVERAGE_POOL_2D": (3, 3, 3),
    "BATCH_TO_SPACE_ND": (4, 4, 4),
    "CAST": (5, 7, 9),
    "CONCATENATION": (4, 4, 7),
    "CONV_2D": (7, 8, 8),
    "DEPTHWISE_CONV_2D": (7, 7, 7),
    "DEPTH_TO_SPACE": (2, 2, 2),
    "DEQUANTIZE": (5, 6, 9),
    "DIV": (2, 2, 2),
    "ELU": (1, 1, 1),
    "EXP": (2, 2, 2),
    "EXPAND_DIMS": (1, 1, 1),
    "FULLY_CONNECTED": (10, 13, 14),
    "GELU": (2, 2, 3),
    "GREATER": (2, 2, 2),
    "GREATER_EQUAL": (3, 3, 3),
    "HARD_SWISH": (1, 1, 1),
    "LEAKY_RELU": (2, 2, 2),
    "LESS": (3, 3, 3),
    "LESS_EQUAL": (2, 2, 2),
    "LOG": (1, 2, 2),
    "LOGISTIC": (3, 3, 3),
    "MAXIMUM": (4, 4, 4),
    "MAX_POOL_2D": (3, 3, 3),
    "MEAN": (3, 3, 3),
    "MINIMUM": (4, 4, 4),
    "MIRROR_PAD": (3, 3, 3),
    "MUL": (7, 7, 8),
    "NEG": (1, 1, 1),
    "PACK": (4, 4, 5),
    "PAD": (4, 4, 6),
    "PADV2": (4, 4, 6),
    "POW": (1, 1, 1),
    "PRELU": (1, 1, 1),
    "QUANTIZE": (3, 3, 6),
    "REDUCE_MAX": (3, 3, 3),
    "RELU": (3, 3, 3),
    "RELU6": (3, 3, 3),
    "RELU_N1_TO_1": (1, 1, 1),
    "RESHAPE": (1, 1, 1),
    "RESIZE_BILINEAR": (4, 4, 4),
    "RESIZE_NEAREST_NEIGHBOR": (4, 4, 4),
    "RSQRT": (2, 3, 3),
    "SELECT": (4, 4, 4),
    "SELECT_V2": (2, 2, 2),
    "SHAPE": (1, 1, 1),
    "SLICE": (6, 6, 8),
    "SOFTMAX": (3, 3, 4),
    "SPACE_TO_BATCH_ND": (4, 4, 4),
    "SPACE_TO_DEPTH": (2, 2, 2),
    "SPLIT": (4, 4, 5),
    "SQRT": (1, 1, 2),
    "SQUARE": (1, 1, 1),
    "SQUARED_DIFFERENCE": (2, 2, 2),
    "SQUEEZE": (2, 2, 2),
    "STRIDED_SLICE": (8, 8, 8),
    "SUB": (5, 5, 5),
    "TANH": (3, 3, 3),
    "TILE": (3, 3, 3),
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

#: ONNX operators that our converters may write, all of opset 14 or older.
ONNX_OPERATORS = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "AveragePool", "Cast", "Celu", "Clip", "Concat",
        "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div", "Elu", "Erf",
        "Exp", "Expand", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Greater",
        "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less",
        "LessOrEqual", "Log", "Max", "MaxPool", "Min", "Mul", "Neg", "Not", "Or", "PRelu",
        "Pad", "Pow", "QuantizeLinear", "Reciprocal", "ReduceMax", "ReduceMean", "Relu",
        "Reshape", "Resize", "Selu", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus",
        "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip


@dataclass(frozen=True)
class TooNew:
    """An operator of a version that a release does not have; `newest` is the release's newest."""

    operator: str
    version: int
    newest: int

    def spell(self, owner: str = "it") -> str:
        """The operator and its limit, for people; `owner` names the release."""
        return f"{self.operator} version {self.version} ({owner} has up to {self.newest})"


@dataclass(frozen=True)
class RuntimeSupport:
    """The releases that run a file, oldest first, and those that refuse it with their reasons.

    `unknown` names what the tables do not know. Nothing is then known to run the file, and
    `runs_on` is empty.
    """

    runs_on: tuple[Release, ...] = ()
    refused_by: Mapping[Release, tuple[TooNew, ...]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.unknown:
            return f"unknown: {', '.join(self.unknown)}"
        return ", ".join(map(str, self.runs_on)) or "no runtime in the table"

    @property
    def reasons(self) -> dict[str, str]:
        """Each release that refuses the file, with its reason, as text."""
        return {
            str(release): ", ".join(operator.spell() for operator in too_new)
            for release, too_new in self.refused_by.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The support as plain JSON values."""
        return {
            "runs_on": [str(release) for release in self.runs_on],
            "refused_by": self.reasons,
            "unknown": list(self.unknown),
        }


def runtime_support(graph: TFLiteGraph | OnnxGraph) -> RuntimeSupport:
    """Look a graph up in the tables. Only `unet-edge verify` proves that a device runs the file."""
    match graph:
        case TFLiteGraph():
            return _tflite(graph)
        case OnnxGraph():
            return _onnx(graph)
        case _:
            assert_never(graph)


def _tflite(graph: TFLiteGraph) -> RuntimeSupport:
    unknown = tuple(
        _versioned(op)
        for op in graph.operators
        if op.name not in TFLITE_VERSIONS or (op.version or 0) < 1
    )
    refused: dict[Release, tuple[TooNew, ...]] = {}
    for column, release in enumerate(TFLITE_RUNTIMES):
        too_new = tuple(
            TooNew(op.name, op.version or 0, TFLITE_VERSIONS[op.name][column])
            for op in graph.operators
            if op.name in TFLITE_VERSIONS and (op.version or 0) > TFLITE_VERSIONS[op.name][column]
        )
        if too_new:
            refused[release] = too_new
    if unknown:
        return RuntimeSupport(refused_by=refused, unknown=unknown)
    last, *litert = TFLITE_RUNTIMES
    runs_on = [last] if last not in refused else []
    # Versions only grow, so the first release that runs the file stands for the later ones.
    if runs_it := [release for release in litert if release not in refused]:
        runs_on.append(replace(runs_it[0], and_later=True))
    return RuntimeSupport(tuple(runs_on), refused)


def _onnx(graph: OnnxGraph) -> RuntimeSupport:
    unknown = [op.name for op in graph.operators if op.name not in ONNX_OPERATORS]
    newest, opset, ir_version = ONNXRUNTIMES[-1]
    if graph.opset is None or graph.opset < OLDEST_OPSET:
        unknown.append(f"opset {graph.opset} (onnxruntime supports {OLDEST_OPSET} and newer)")
    elif graph.opset > opset or graph.ir_version > ir_version:
        unknown.append(
            f"opset {graph.opset}, IR {graph.ir_version} "
            f"(onnxruntime {newest} has up to opset {opset}, IR {ir_version})"
        )
    if unknown:
        return RuntimeSupport(unknown=tuple(unknown))
    assert graph.opset is not None
    oldest = next(r for r, o, ir in ONNXRUNTIMES if o >= graph.opset and ir >= graph.ir_version)
    return RuntimeSupport((Release("onnxruntime", oldest, and_later=True),))


def _versioned(operator: Operator) -> str:
    return f"{operator.name} version {operator.version}"
