"""Reading the tables of a flatbuffer without code generated from its schema; offsets are checked.

A table begins with the distance back to its vtable. The vtable holds, for each field, the distance
from the table's start, or 0 for a missing field. https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Tables may point at one another, so the size of a file does not limit the work. Our files need a
# few hundred tables.
_MOST_TABLES = 200_000
_LONGEST_TEXT = 1000  # bytes


class Buffer:
    """The bytes of a flatbuffer. Reading outside them raises ValueError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._opened = 0

    def root(self) -> Table:
        """The outermost table."""
        return self.table(self.number("I", 0))

    def table(self, position: int) -> Table:
        """The table at `position`; ValueError after more tables than any real file has."""
        self._opened += 1
        if self._opened > _MOST_TABLES:
            raise ValueError(f"more than {_MOST_TABLES} tables")
        return Table(self, position)

    def number(self, kind: str, position: int) -> Any:
        """The number of `struct` format `kind` at `position`."""
        layout = struct.Struct(f"<{kind}")
        if not 0 <= position <= len(self.data) - layout.size:
            raise ValueError(f"offset {position} is outside the file")
        return layout.unpack_from(self.data, position)[0]

    def array(self, dtype: DTypeLike, position: int) -> NDArray[Any]:
        """The vector at `position`, as a view."""
        kind, size = np.dtype(dtype), self.number("I", position)
        if position + 4 + size * kind.itemsize > len(self.data):
            raise ValueError(f"a vector of {size} elements ends outside the file")
        return np.frombuffer(self.data, kind, size, position + 4)


class Table:
    """A table; `place` is the position of a field in the schema, from 0."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._vtable = position - buffer.number("i", position)
        self._vtable_size = buffer.number("H", self._vtable)

    def _field(self, place: int) -> int | None:
        """The position of the field's value, None for a missing field."""
        slot = 4 + 2 * place
        if slot + 2 > self._vtable_size:
            return None
        distance = self._buffer.number("H", self._vtable + slot)
        return self._position + distance if distance else None

    def _target(self, place: int) -> int | None:
        """The position that the field points at, None for a missing field."""
        position = self._field(place)
        return None if position is None else position + self._buffer.number("I", position)

    def number(self, place: int, kind: str, default: int = 0) -> int:
        """A whole number of `struct` format `kind`."""
        position = self._field(place)
        return default if position is None else int(self._buffer.number(kind, position))

    def text(self, place: int) -> str:
        """A string, "" for a missing field; characters that are not printable are replaced."""
        raw = self.array(place, np.uint8)
        text = raw[:_LONGEST_TEXT].tobytes().decode("utf-8", errors="replace")
        return "".join(letter if letter.isprintable() else "�" for letter in text)

    def array(self, place: int, dtype: DTypeLike) -> NDArray[Any]:
        """A vector of numbers, as a view; empty for a missing field."""
        target = self._target(place)
        return np.empty(0, dtype) if target is None else self._buffer.array(dtype, target)

    def table(self, place: int) -> Table | None:
        """A table, None for a missing field."""
        target = self._target(place)
        return None if target is None else self._buffer.table(target)

    def tables(self, place: int) -> Tables:
        """A vector of tables; empty for a missing field."""
        target = self._target(place)
        if target is None:
            return Tables(self._buffer, 0, np.empty(0, "<u4"))
        return Tables(self._buffer, target + 4, self._buffer.array("<u4", target))


class Tables(Sequence[Table]):
    """A vector of tables, each opened when it is used."""

    def __init__(self, buffer: Buffer, start: int, offsets: NDArray[np.uint32]) -> None:
        self._buffer = buffer
        self._start = start
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Table: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Table]: ...
    def __getitem__(self, index: int | slice) -> Table | Sequence[Table]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"table {index} of {len(self)}")
        return self._buffer.table(self._start + 4 * index + int(self._offsets[index]))
