from __future__ import annotations

import struct
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from unet_edge.errors import ModelFileError
from unet_edge.model_files.flatbuffer import Buffer
from unet_edge.model_files.read_graph import read_graph

Make = Callable[..., bytes]


def table(*values: int) -> bytes:
    """A buffer of one table with int32 fields."""
    builder = flatbuffers.Builder(64)
    builder.StartObject(len(values))
    for place, value in enumerate(values):
        builder.PrependInt32Slot(place, value, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def test_fields_are_read_by_their_place_and_missing_ones_have_a_default() -> None:
    root = Buffer(table(5, 0, -7)).root()
    assert [root.number(place, "i", default=1) for place in range(4)] == [5, 1, -7, 1]
    assert root.table(1) is None
    assert len(root.tables(3)) == 0
    assert root.array(3, np.int32).size == 0
    assert root.text(3) == ""


@pytest.mark.parametrize("data", [b"", b"\4\0\0", b"\xff" * 40, struct.pack("<Ii", 4, 100)])
def test_offsets_outside_the_file_are_errors(data: bytes) -> None:
    with pytest.raises(ValueError, match="is outside the file"):
        Buffer(data).root()


def table_with(text: str) -> bytes:
    """A file of one table with one string."""
    builder = flatbuffers.Builder(64)
    place = builder.CreateString(text)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, place, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def test_a_vector_longer_than_the_file_is_an_error_before_memory_is_allocated() -> None:
    data = table_with("abc")
    assert Buffer(data).root().text(0) == "abc"
    forged = data.replace(struct.pack("<I", 3) + b"abc", struct.pack("<I", 2**32 - 1) + b"abc")
    with pytest.raises(ValueError, match="4294967295 elements ends outside"):
        Buffer(forged).root().array(0, np.int64)


def test_control_characters_are_replaced() -> None:
    assert Buffer(table_with("a\x1b[2Jä\n")).root().text(0) == "a�[2Jä�"


def test_tables_that_point_at_one_another_take_little_time() -> None:
    # The same subgraph 1,000 times, with the same operator 1,000 times: a million in 8 kB.
    def vector(builder: flatbuffers.Builder, target: int) -> int:
        builder.StartVector(4, 1000, 4)
        for _ in range(1000):
            builder.PrependUOffsetTRelative(target)
        return int(builder.EndVector())

    builder = flatbuffers.Builder(1024)
    schema.OperatorCodeStart(builder)
    code = schema.OperatorCodeEnd(builder)
    codes = vector(builder, code)
    schema.OperatorStart(builder)
    operators = vector(builder, schema.OperatorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    graphs = vector(builder, schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddOperatorCodes(builder, codes)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    data = bytes(builder.Output())
    assert len(data) < 13_000
    # Refused by their number: reading all of them would take minutes.
    with pytest.raises(ModelFileError, match=r"m: its graph .*more than 200000 tables.*again"):
        read_graph(data, "tflite", "m")
