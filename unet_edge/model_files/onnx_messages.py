"""The messages of an .onnx file, read without the onnx library.

Field numbers and the values of enumerations are those of onnx.proto3:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from unet_edge.model_files.graph import TensorInfo
from unet_edge.model_files.protobuf import read_fields, read_varint

# TensorProto.DataType, in its order.
_TYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string",
    "bool", "float16", "float64", "uint32", "uint64",
)  # fmt: skip

# A field may have two bytes, so a file of 50 MB could hold 25 million fields; ours hold a few
# thousand. This many take half a second and 50 MiB.
_MOST_FIELDS = 200_000
_LONGEST_TEXT = 1000  # bytes
_MOST_DIMENSIONS = 64

GRAPH_NODES, GRAPH_INITIALIZERS, GRAPH_INPUTS, GRAPH_OUTPUTS = 1, 5, 11, 12  # GraphProto

Message = dict[int, list[Any]]
"""The values of each field of a message, by its number."""


@dataclass(frozen=True)
class Constant:
    """An initializer: its type, its number of elements, and its value if it is a single number."""

    dtype: str
    size: int
    value: float | None


@dataclass(frozen=True)
class OnnxNode:
    """An operation: its operator, its own name, and the tensors that it reads and makes."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Reader:
    """A reader of messages that stops at more fields than any real file has."""

    def __init__(self) -> None:
        self._remaining = _MOST_FIELDS

    def message(self, data: memoryview) -> Message:
        """Read the values of each field, in their order; ValueError beyond the limit."""
        message: Message = defaultdict(list)
        for number, value in read_fields(data):
            self._remaining -= 1
            if self._remaining < 0:
                raise ValueError(f"more than {_MOST_FIELDS} fields")
            message[number].append(value)
        return message


def node_of(node: Message) -> OnnxNode:
    """The operation of a NodeProto."""
    domain, kind = text_field(node, 7), text_field(node, 4)
    return OnnxNode(
        kind if domain in ("", "ai.onnx") else f"{domain}.{kind}",
        text_field(node, 3),
        tuple(map(_decode, node[1])),
        tuple(map(_decode, node[2])),
    )


def group_of(reader: Reader, node: Message) -> int:
    """The number of groups of a NodeProto's convolution, 1 by default."""
    for attribute in map(reader.message, node[5]):
        if text_field(attribute, 1) == "group":
            return number_field(attribute, 3)
    return 1


def graph_of(reader: Reader, model: Message) -> Message:
    """The message of the graph of a model."""
    (first, *more) = model[7] or [memoryview(b"")]
    # Protobuf merges a repeated message in this way.
    return reader.message(memoryview(b"".join((first, *more))) if more else memoryview(first))


def constant_of(tensor: Message) -> tuple[str, Constant]:
    """The name of a TensorProto, and its constant."""
    kind = number_field(tensor, 2)
    size = math.prod(repeated_numbers(tensor[1]))
    value: float | None = None
    if size == 1:
        value = _single(tensor, kind)
    return text_field(tensor, 8), Constant(dtype_name(kind), size, value)


def _single(tensor: Message, kind: int) -> float | None:
    """The value of a tensor of one float32, uint8 or int8; None for other types."""
    if tensor[9] and (layout := {1: "<f", 2: "<B", 3: "<b"}.get(kind)):
        return float(struct.unpack(layout, tensor[9][0])[0])
    if kind == 1 and tensor[4]:
        return float(struct.unpack("<f", tensor[4][0])[0])
    if kind in (2, 3) and tensor[5]:  # if empty, the values are in another file
        # A negative int32 is a varint of 64 bits, in two's complement.
        return float(struct.unpack("<q", struct.pack("<Q", repeated_numbers(tensor[5])[0]))[0])
    return None


def type_and_rank(tensor: Message) -> tuple[str, int]:
    """The type of a TensorProto and its number of dimensions."""
    return dtype_name(number_field(tensor, 2)), len(repeated_numbers(tensor[1]))


def tensor_info_of(
    reader: Reader, value: Message, scales: dict[str, tuple[float, int]]
) -> TensorInfo:
    """The input or output of a ValueInfoProto; `scales` holds scale and zero point by name."""
    name = text_field(value, 1)
    tensor_types = reader.message(value[2][0])[1] if value[2] else []  # TypeProto.tensor_type
    if not tensor_types:  # a sequence, a map, or an output whose type is inferred
        return TensorInfo(name, "unknown", (), None, None)
    kind = reader.message(tensor_types[0])
    dimensions = reader.message(kind[2][0])[1] if kind[2] else []
    # A free dimension has a name or nothing in place of its size, and counts as 0.
    shape = tuple(number_field(reader.message(entry), 1) for entry in dimensions)
    return TensorInfo(
        name, dtype_name(number_field(kind, 1)), shape, *scales.get(name, (None, None))
    )


def repeated_numbers(values: list[Any]) -> list[int]:
    """The numbers of a repeated field, packed or not."""
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(value)
            continue
        position = 0
        while position < len(value) and len(numbers) <= _MOST_DIMENSIONS:
            number, position = read_varint(value, position)
            numbers.append(number)
    if len(numbers) > _MOST_DIMENSIONS:
        raise ValueError(f"a shape of more than {_MOST_DIMENSIONS} dimensions")
    return numbers


def number_field(message: Message, place: int) -> int:
    """The number in a field, 0 if it is missing; of several, the last counts, as in protobuf."""
    value = message[place][-1] if message[place] else 0
    if not isinstance(value, int):
        raise ValueError(f"field {place} is not a number")
    return value


def text_field(message: Message, place: int) -> str:
    """The text in a field, "" if it is missing; what is not printable is replaced."""
    return _decode(message[place][-1]) if message[place] else ""


def _decode(raw: memoryview) -> str:
    text = bytes(raw[:_LONGEST_TEXT]).decode("utf-8", errors="replace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def dtype_name(kind: int) -> str:
    """The name of a TensorProto.DataType."""
    return _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"
