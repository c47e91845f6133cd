"""ZIP archives of stored entries, behind the bytes of another file (PKWARE APPNOTE 4.3).

Not by `zipfile`. What it writes depends on the system and may depend on the Python version. When
it reads, it unpacks every kind of entry, and a deflated one of 0.6 MB may hold 4 GB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

_MOST_ENTRIES = 16


def write_archive(entries: dict[str, bytes], offset: int) -> bytes:
    """Make an archive that follows `offset` bytes of another file, the same on every system."""
    # Positions in the archive count from the start of the whole file, as zip tools expect.
    january_1980 = 0x21
    made_by_unix, mode = 3 << 8 | 20, 0o644 << 16
    local = central = b""
    for entry, content in entries.items():
        name, size = entry.encode(), len(content)
        common = struct.pack(
            "<5H3I2H", 20, 0, 0, 0, january_1980, zlib.crc32(content), size, size, len(name), 0
        )
        central += (
            b"PK\1\2"
            + struct.pack("<H", made_by_unix)
            + common
            + struct.pack("<3H2I", 0, 0, 0, mode, offset + len(local))
            + name
        )
        local += b"PK\3\4" + common + name + content
    count = len(entries)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(central), offset + len(local), 0)
    return local + central + b"PK\5\6" + end


def read_entries(data: bytes, name: str, most: int) -> list[bytes] | None:
    """Read the entries called `name`, of at most `most` bytes each; usually one.

    Returns None when `data` does not end with an archive like those of `write_archive`. Raises
    ValueError or struct.error for malformed entries.
    """
    end = len(data) - 22
    count, size, position, comment = 0, 0, -1, 0
    if end > 0 and data[end : end + 4] == b"PK\5\6":
        count, size, position, comment = struct.unpack_from("<HIIH", data, end + 10)
    if position + size != end or comment or count > _MOST_ENTRIES:
        return None
    contents = []
    for _ in range(count):
        entry, read, position = _read_entry(data, position, most)
        if entry == name.encode():
            contents.append(read())
    return contents


def _read_entry(data: bytes, position: int, most: int) -> tuple[bytes, Callable[[], bytes], int]:
    """An entry of the directory: its name, a function that reads it, and the next position."""
    (signature, flags, method, _, packed, size, *lengths, start) = struct.unpack_from(
        "<4s4x2H4x3I3H8xI", data, position
    )
    if signature != b"PK\1\2":
        raise ValueError("its ZIP's directory is malformed")
    name = data[position + 46 : position + 46 + lengths[0]]

    def read() -> bytes:
        if flags or method or packed != size:
            raise ValueError("it is compressed, a stored entry was expected")
        if size > most:
            raise ValueError(f"it has {size:,} bytes, expected at most {most:,}")
        signature, *local = struct.unpack_from("<4s22x2H", data, start)
        first = start + 30 + sum(local)
        if signature != b"PK\3\4" or first + size > len(data):
            raise ValueError("its ZIP's entry is malformed")
        return data[first : first + size]

    return name, read, position + 46 + sum(lengths)
