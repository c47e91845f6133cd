"""The graph of a model file: operators, inputs, outputs, kernels, versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Operator:
    """An operator, how often it occurs, and its version in TFLite; ONNX has one opset per file."""

    name: str
    count: int
    version: int | None = None


@dataclass(frozen=True)
class TensorInfo:
    """An input or output, with scale and zero point if the tensor is quantised per tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None


class TensorSummary(NamedTuple):
    """Inputs, outputs, and the types of kernels, such as "float32" and "int8".

    In ONNX, every constant with several dimensions counts as a kernel.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    kernel_types: frozenset[str]


@dataclass(frozen=True)
class Graph:
    """The graph of a file of either format.

    `kernels` counts the weight tensors of convolutions and matrix products by how they are stored:
    "float32", "float16", "int8 per channel", "int8 per tensor" and so on.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    kernels: dict[str, int]


@dataclass(frozen=True)
class TFLiteGraph(Graph):
    """The graph of a .tflite file; `min_runtime_version` is None unless its converter wrote one.

    `macs` counts the multiplications, each with its addition, of the convolutions and matrix
    products for one picture.
    """

    min_runtime_version: str | None
    macs: int


SATURATES = (
    "its int8 sums saturate on x86 without VNNI. unet-edge prevents that, other programs may not; "
    "export it again with this version"
)
"""The message for a file of which `OnnxGraph.can_saturate` is True."""


@dataclass(frozen=True)
class OnnxGraph(Graph):
    """The graph of an .onnx file; `opset` is that of ONNX's own operators, None without one.

    An operator of another domain has the domain in its name. `can_saturate` says that sums of an
    int8 convolution may exceed 16 bits. By default, ONNX Runtime adds them in 16 bits on x86
    without VNNI.
    """

    opset: int | None
    ir_version: int
    can_saturate: bool
