"""What a model file's graph says of itself: operators, ends, kernels, versions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operator:
    """An operator, how often it occurs, and its version in TFLite (ONNX has one per file)."""

    name: str
    count: int
    version: int | None = None


@dataclass(frozen=True)
class TensorInfo:
    """An input or output. Scale and zero point are those of the whole tensor, where it has any."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None


Ends = tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], frozenset[str]]
"""Inputs, outputs, and the types of what has several dimensions: float32, float16, int8 …"""


@dataclass(frozen=True)
class Graph:
    """What both formats say. `kernels` counts the convolutions' and matrices' weight tensors.

    Its keys are "float32", "float16", "int8 per channel", "int8 per tensor" and the like.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    kernels: dict[str, int]


@dataclass(frozen=True)
class TFLiteGraph(Graph):
    """A .tflite file's graphs; `min_runtime_version` is what its converter wrote, if it did."""

    min_runtime_version: str | None


SATURATES = (
    "its int8 sums saturate on x86 without VNNI. unet-edge prevents that, other programs may not; "
    "export it again with this version"
)
"""What `OnnxGraph.can_saturate` means, for people."""


@dataclass(frozen=True)
class OnnxGraph(Graph):
    """An .onnx file's graph; `opset` is that of ONNX's own operators, None without one.

    An operator of another domain has the domain in its name. `can_saturate`: sums of an int8
    convolution may leave 16 bits, in which ONNX Runtime adds on x86 without VNNI by default.
    """

    opset: int | None
    ir_version: int
    can_saturate: bool
