"""The graph of a .tflite file, read with NumPy alone.

Positions of fields and values of enumerations are those of TFLite's schema.fbs, which only grows
at its end: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

from unet_edge.model_files.flatbuffer import Buffer, Table, Tables
from unet_edge.model_files.graph import Operator, TensorInfo, TFLiteGraph

#: The BuiltinOperators that our converters write; their versions are in `runtime_support`.
BUILTINS = {
    0: "ADD",
    1: "AVERAGE_POOL_2D",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    20: "RELU_N1_TO_1",
    21: "RELU6",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    25: "SOFTMAX",
    26: "SPACE_TO_DEPTH",
    28: "TANH",
    34: "PAD",
    37: "BATCH_TO_SPACE_ND",
    38: "SPACE_TO_BATCH_ND",
    39: "TRANSPOSE",
    40: "MEAN",
    41: "SUB",
    42: "DIV",
    43: "SQUEEZE",
    45: "STRIDED_SLICE",
    47: "EXP",
    49: "SPLIT",
    53: "CAST",
    54: "PRELU",
    55: "MAXIMUM",
    56: "ARG_MAX",
    57: "MINIMUM",
    58: "LESS",
    59: "NEG",
    60: "PADV2",
    61: "GREATER",
    62: "GREATER_EQUAL",
    63: "LESS_EQUAL",
    64: "SELECT",
    65: "SLICE",
    67: "TRANSPOSE_CONV",
    69: "TILE",
    70: "EXPAND_DIMS",
    73: "LOG",
    75: "SQRT",
    76: "RSQRT",
    77: "SHAPE",
    78: "POW",
    82: "REDUCE_MAX",
    83: "PACK",
    92: "SQUARE",
    97: "RESIZE_NEAREST_NEIGHBOR",
    98: "LEAKY_RELU",
    99: "SQUARED_DIFFERENCE",
    100: "MIRROR_PAD",
    101: "ABS",
    111: "ELU",
    114: "QUANTIZE",
    117: "HARD_SWISH",
    123: "SELECT_V2",
    150: "GELU",
}
_CUSTOM = 32

# TensorType, in its order.
_TYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64",
    "int8", "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4",
)  # fmt: skip

# Operators whose second input is the kernel.
_WITH_KERNEL = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def read_tflite(data: bytes) -> TFLiteGraph:
    """Read the graph; bytes behind the flatbuffer in `data` are ignored.

    Raises ValueError or IndexError when the bytes are not a TFLite model.
    """
    model = Buffer(data).root()
    codes = [(_operator_name(code), code.number(2, "i", default=1)) for code in model.tables(1)]
    graphs, buffers = model.tables(2), model.tables(4)
    counts: Counter[tuple[str, int]] = Counter()
    kernels: Counter[str] = Counter()
    for graph in graphs:
        used, stored = _count(graph, codes, buffers)
        counts += used
        kernels += stored
    tensors = graphs[0].tables(0)
    return TFLiteGraph(
        operators=tuple(Operator(n, count, v) for (n, v), count in sorted(counts.items())),
        inputs=tuple(_tensor_info(tensors[int(i)]) for i in graphs[0].array(1, "<i4")),
        outputs=tuple(_tensor_info(tensors[int(i)]) for i in graphs[0].array(2, "<i4")),
        kernels=dict(sorted(kernels.items())),
        min_runtime_version=_min_runtime_version(model, buffers),
        macs=_macs(graphs[0], codes),
    )


def _operator_name(code: Table) -> str:
    # The old field is a byte, so codes above 127 are in the new field. TFLite takes the larger one.
    value = max(code.number(3, "i"), code.number(0, "b"))
    if value == _CUSTOM:
        return f"custom {code.text(1)}"
    return BUILTINS.get(value, f"operator {value}")


def _count(
    graph: Table, codes: list[tuple[str, int]], buffers: Tables
) -> tuple[Counter[tuple[str, int]], Counter[str]]:
    """Count the operators of a subgraph, and its kernels by how they are stored."""
    tensors = graph.tables(0)
    counts: Counter[tuple[str, int]] = Counter()
    dequantised: dict[int, int] = {}
    kernels: set[int] = set()  # a set: a kernel that operators share counts once
    for operator in graph.tables(3):
        code = codes[operator.number(0, "I")]
        counts[code] += 1
        inputs = operator.array(1, "<i4")
        if code[0] == "DEQUANTIZE":
            dequantised[int(operator.array(2, "<i4")[0])] = int(inputs[0])
        elif code[0] in _WITH_KERNEL:
            index = int(inputs[1])
            kernels.add(dequantised.get(index, index))
    return counts, Counter(
        _stored_as(tensors[i]) for i in kernels if _is_constant(tensors[i], buffers)
    )


def _macs(graph: Table, codes: list[tuple[str, int]]) -> int:
    """The multiply-accumulate operations of all operators with a kernel."""
    tensors = graph.tables(0)
    total = 0
    for operator in graph.tables(3):
        name, _ = codes[operator.number(0, "I")]
        if name in _WITH_KERNEL:
            inputs, (output, *_) = operator.array(1, "<i4"), operator.array(2, "<i4")
            # Each position of these has one product with the whole kernel.
            positions = tensors[int(inputs[2] if name == "TRANSPOSE_CONV" else output)]
            kernel = tensors[int(inputs[1])]
            total += math.prod(_shape(positions)[:-1]) * math.prod(_shape(kernel))
    return total


def _is_constant(tensor: Table, buffers: Tables) -> bool:
    return buffers[tensor.number(2, "I")].array(0, np.uint8).size > 0


def _stored_as(tensor: Table) -> str:
    quantisation = tensor.table(4)
    scales = 0 if quantisation is None else quantisation.array(2, "<f4").size
    granularity = ("", " per tensor", " per channel")[min(scales, 2)]
    return _dtype(tensor) + granularity


def _tensor_info(tensor: Table) -> TensorInfo:
    name, dimensions = tensor.text(3), _shape(tensor)
    quantisation = tensor.table(4)
    if quantisation is None or quantisation.array(2, "<f4").size != 1:
        return TensorInfo(name, _dtype(tensor), dimensions)
    (scale,), zero_points = quantisation.array(2, "<f4"), quantisation.array(3, "<i8")
    zero_point = int(zero_points[0]) if zero_points.size else 0
    return TensorInfo(name, _dtype(tensor), dimensions, float(scale), zero_point)


def _shape(tensor: Table) -> tuple[int, ...]:
    shape = tensor.array(0, "<i4")
    if shape.size > 8:  # TFLite's own kernels stop at 6 dimensions
        raise ValueError(f"a tensor of {shape.size} dimensions")
    return tuple(map(int, shape))


def _dtype(tensor: Table) -> str:
    kind = tensor.number(1, "b")
    return _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"


def _min_runtime_version(model: Table, buffers: Tables) -> str | None:
    for entry in model.tables(6):
        if entry.text(0) == "min_runtime_version":
            raw = buffers[entry.number(1, "I")].array(0, np.uint8)[:16].tobytes()
            version = re.match(rb"\d+(\.\d+)+", raw)
            return version[0].decode() if version else None
    return None
