"""Protobuf's wire format: reading and writing the fields of a message without the library.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_LENGTH_DELIMITED = 2  # wire type


def read_fields(data: memoryview, most: int | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of one message, of at most `most` fields.

    A value is an int (varint), a view of the bytes (string, message, packed numbers) or None
    (fixed 32 or 64 bits). Raises ValueError or IndexError when the bytes are not a message.
    """
    position = count = 0
    while position < len(data):
        key, position = read_varint(data, position)
        if key < 8:
            raise ValueError("a field has the number 0")
        count += 1
        if most is not None and count > most:
            raise ValueError(f"more than {most} fields")
        match key & 7:
            case 0:
                value, position = read_varint(data, position)
                yield key >> 3, value
            case 1 | 5 as wire:
                position += 8 if wire == 1 else 4
                if position > len(data):
                    raise ValueError("a number is cut off")
                yield key >> 3, None
            case 2:
                size, position = read_varint(data, position)
                if position + size > len(data):
                    raise ValueError("a field is longer than the file")
                yield key >> 3, data[position : position + size]
                position += size
            case wire:
                raise ValueError(f"unknown wire type {wire}")


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, and the position behind it. Raises ValueError or IndexError."""
    value = data[position]
    if value < 0x80:  # nearly all numbers are
        return value, position + 1
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def write_field(number: int, value: bytes) -> bytes:
    """Encode a string or message as field `number`."""
    return _encode_varint(number << 3 | _LENGTH_DELIMITED) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
