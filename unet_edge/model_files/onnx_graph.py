"""The graph of an .onnx file, read without the onnx library.

Field numbers and the values of enumerations are those of onnx.proto3:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import math
import struct
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unet_edge.model_files.graph import OnnxGraph, Operator, TensorInfo
from unet_edge.model_files.protobuf import read_fields, read_varint

# TensorProto.DataType, in its order.
_TYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string",
    "bool", "float16", "float64", "uint32", "uint64",
)  # fmt: skip

# Each takes its kernel as the second input.
_WITH_KERNEL = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

# A field may be two bytes, so a file of 50 MB could hold 25 million; ours hold a few thousand. So
# many take half a second and 50 MiB.
_MOST_FIELDS = 200_000
_LONGEST_TEXT = 1000
_MOST_NUMBERS = 64  # a shape's; of other numbers only single ones are read

Message = dict[int, list[Any]]


@dataclass(frozen=True)
class _Constant:
    """An initializer: its type, its number of elements, and its value where it is one number."""

    dtype: str
    size: int
    value: float | None


def read_onnx(data: bytes) -> OnnxGraph:
    """Read the graph. Operators inside an If's or Loop's branches are not counted.

    Raises ValueError, IndexError or TypeError when the bytes are no ONNX model.
    """
    reader = Reader()
    model = reader.message(memoryview(data))
    graph = graph_of(reader, model)
    nodes = _nodes(reader, graph)
    tensors = [reader.message(tensor) for tensor in graph[5]]
    constants = dict(map(constant_of, tensors))
    counts = Counter(node.operator for node in nodes)
    scales = quantised(nodes, constants)
    ports = {
        place: tuple(
            port
            for value in graph[place]
            if (port := port_of(reader, reader.message(value), scales)).name not in constants
        )
        for place in (11, 12)
    }
    opsets = dict(_opset(reader.message(entry)) for entry in model[8])
    return OnnxGraph(
        operators=tuple(Operator(name, count) for name, count in sorted(counts.items())),
        inputs=ports[11],
        outputs=ports[12],
        kernels=_kernels(nodes, constants),
        opset=opsets.get("", opsets.get("ai.onnx")),
        ir_version=_number(model, 1),
        can_saturate=_can_saturate(nodes, tensors),
    )


@dataclass(frozen=True)
class OnnxNode:
    """One operation: its operator, its own name, and the tensors it reads and makes."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx_nodes(data: bytes) -> tuple[OnnxNode, ...]:
    """The operations of a graph, each behind those it needs. Raises as `read_onnx` does."""
    reader = Reader()
    return _nodes(reader, graph_of(reader, reader.message(memoryview(data))))


def _can_saturate(nodes: Sequence[OnnxNode], tensors: Sequence[Message]) -> bool:
    """Whether a convolution's int8 kernel can; one that is not stored as usual counts as if."""
    stored = {n.outputs[0]: n.inputs[0] for n in nodes if n.operator == "DequantizeLinear"}
    kernels = {stored.get(n.inputs[1]) for n in nodes if n.operator == "Conv"}
    for tensor in tensors:
        if _text(tensor, 8) not in kernels or _dtype(_number(tensor, 2)) != "int8":
            continue
        # Here, not at the top: the doctor reads graphs where NumPy is missing.
        import numpy as np

        from unet_edge.model_files.saturation import can_saturate

        shape = _numbers(tensor[1])
        if len(shape) != 4 or not tensor[9]:  # its values are in another field, or another file
            return True
        if can_saturate(np.frombuffer(tensor[9][-1], np.int8).reshape(shape)):
            return True
    return False


def graph_of(reader: Reader, model: Message) -> Message:
    """The graph's message of a model's."""
    (first, *more) = model[7] or [memoryview(b"")]
    # As protobuf merges a repeated message.
    return reader.message(memoryview(b"".join((first, *more))) if more else memoryview(first))


def _nodes(reader: Reader, graph: Message) -> tuple[OnnxNode, ...]:
    return tuple(node_of(reader.message(node)) for node in graph[1])


class Reader:
    """Reads messages, and stops where no real file would have as many fields."""

    def __init__(self) -> None:
        self._left = _MOST_FIELDS

    def message(self, data: memoryview) -> Message:
        """The values of each field, in their order."""
        found: Message = defaultdict(list)
        for number, value in read_fields(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {_MOST_FIELDS} fields")
            found[number].append(value)
        return found


def node_of(node: Message) -> OnnxNode:
    """The operation of a NodeProto."""
    domain, kind = _text(node, 7), _text(node, 4)
    return OnnxNode(
        kind if domain in ("", "ai.onnx") else f"{domain}.{kind}",
        _text(node, 3),
        tuple(map(_decode, node[1])),
        tuple(map(_decode, node[2])),
    )


def _kernels(nodes: Sequence[OnnxNode], constants: dict[str, _Constant]) -> dict[str, int]:
    """Count the kernels by how they are stored; one that two operators share counts once."""
    # Where a kernel is stored, and its scale: behind a Cast it has none.
    dequantised = {n.outputs[0]: n.inputs[:2] for n in nodes if n.operator == "DequantizeLinear"}
    dequantised |= {n.outputs[0]: n.inputs[:1] for n in nodes if n.operator == "Cast"}
    used = {n.inputs[1] for n in nodes if n.operator in _WITH_KERNEL}
    kernels: Counter[str] = Counter()
    for name in used:
        stored, *scale = dequantised.get(name, (name,))
        if stored in constants:
            sizes = [constants[s].size for s in scale if s in constants]
            granularity = f" per {'channel' if max(sizes) > 1 else 'tensor'}" if sizes else ""
            kernels[constants[stored].dtype + granularity] += 1
    return dict(sorted(kernels.items()))


def quantised(
    nodes: Sequence[OnnxNode], constants: dict[str, _Constant]
) -> dict[str, tuple[float, int]]:
    """Scale and zero point of tensors that a DequantizeLinear reads, also behind a Transpose."""
    source = {n.outputs[0]: n.inputs[0] for n in nodes if n.operator == "Transpose"}
    found: dict[str, tuple[float, int]] = {}
    for node in nodes:
        if node.operator != "DequantizeLinear":
            continue
        tensor, *rest = node.inputs
        values = [constants[name].value for name in rest if name in constants]
        if values and values[0] is not None and None not in values:
            pair = (values[0], int(values[1] or 0) if len(values) > 1 else 0)
            found[tensor] = found[source.get(tensor, tensor)] = pair
    return found


def constant_of(tensor: Message) -> tuple[str, _Constant]:
    """The name of a TensorProto, and what it holds."""
    kind = _number(tensor, 2)
    size = math.prod(_numbers(tensor[1]))
    value: float | None = None
    if size == 1:
        value = _single(tensor, kind)
    return _text(tensor, 8), _Constant(_dtype(kind), size, value)


def _single(tensor: Message, kind: int) -> float | None:
    """The value of a tensor of one float32, uint8 or int8; None for other types."""
    if tensor[9] and (layout := {1: "<f", 2: "<B", 3: "<b"}.get(kind)):
        return float(struct.unpack(layout, tensor[9][0])[0])
    if kind == 1 and tensor[4]:
        return float(struct.unpack("<f", tensor[4][0])[0])
    if kind in (2, 3) and tensor[5]:  # without: its values lie in another file
        # A negative int32 is a varint of 64 bits, in two's complement.
        return float(struct.unpack("<q", struct.pack("<Q", _numbers(tensor[5])[0]))[0])
    return None


def type_and_rank(tensor: Message) -> tuple[str, int]:
    """The type of a TensorProto and its number of dimensions."""
    return _dtype(_number(tensor, 2)), len(_numbers(tensor[1]))


def port_of(reader: Reader, value: Message, scales: dict[str, tuple[float, int]]) -> TensorInfo:
    """The input or output of a ValueInfoProto; `scales` are those that `quantised` found."""
    name = _text(value, 1)
    told = reader.message(value[2][0])[1] if value[2] else []  # TypeProto.tensor_type
    if not told:  # a sequence, a map, or an output left to be inferred
        return TensorInfo(name, "unknown", (), None, None)
    kind = reader.message(told[0])
    dimensions = reader.message(kind[2][0])[1] if kind[2] else []
    # A free dimension has a name or nothing in place of its size: 0.
    shape = tuple(_number(reader.message(entry), 1) for entry in dimensions)
    return TensorInfo(name, _dtype(_number(kind, 1)), shape, *scales.get(name, (None, None)))


def _opset(entry: Message) -> tuple[str, int]:
    return _text(entry, 1), _number(entry, 2)


def _numbers(values: list[Any]) -> list[int]:
    """Repeated numbers, be they packed or not."""
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(value)
            continue
        position = 0
        while position < len(value) and len(numbers) <= _MOST_NUMBERS:
            number, position = read_varint(value, position)
            numbers.append(number)
    if len(numbers) > _MOST_NUMBERS:
        raise ValueError(f"a shape of more than {_MOST_NUMBERS} dimensions")
    return numbers


def _number(message: Message, place: int) -> int:
    """A number, 0 when it was left out; of several the last counts, as in protobuf."""
    found = message[place][-1] if message[place] else 0
    if not isinstance(found, int):
        raise ValueError(f"field {place} is no number")
    return found


def _text(message: Message, place: int) -> str:
    return _decode(message[place][-1]) if message[place] else ""


def _decode(raw: memoryview) -> str:
    text = bytes(raw[:_LONGEST_TEXT]).decode("utf-8", errors="replace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _dtype(kind: int) -> str:
    return _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"
