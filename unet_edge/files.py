"""Writing without halves: everything goes aside first and is renamed into place.

What writes and hashes is imported where it is used: `import unet_edge` would pay for it.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from unet_edge.errors import OutputError

Writer = Callable[[BinaryIO], object]
"""Writes what it stands for into an open file, front to back."""


def write_atomically(path: Path, data: bytes | str | Writer) -> None:
    """Write a file aside in the same folder and rename it over `path`.

    For several threads at once, too, one for each path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: its files are for their owner alone, and the umask that would mend it can
    # only be read by setting it, which other threads would notice.
    aside = path.parent / f".{path.name}.{os.urandom(4).hex()}"
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        # BaseException: Ctrl-C must not leave the aside file behind either.
        aside.unlink(missing_ok=True)
        raise


def read_regular(path: str | Path, most: int, size: int | None = None) -> bytes:
    """Read a file of at most `most` bytes, or of exactly `size`, in bounded time and memory.

    Raises OSError, before it reads, for a file of another size and for what is no regular file:
    a fifo or a device has no end, and a sparse file may claim terabytes.
    """
    # Without O_NONBLOCK, opening a fifo waits for somebody to write into it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise OSError("it is a folder, not a file")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not a regular file; copy it into one")
        if size is not None and found.st_size != size:
            raise OSError(f"it has {found.st_size:,} bytes, expected {size:,}")
        if found.st_size > most:
            raise OSError(f"it has {found.st_size:,} bytes, expected at most {most:,}")
        pieces = []
        left = found.st_size
        while left and (piece := os.read(handle, left)):  # a read may give less than it is asked
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(handle)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def require_place(path: Path) -> None:
    """See that something can be written at `path`, before the work; raises OutputError."""
    import tempfile

    folder = path if path.is_dir() else path.absolute().parent
    if path.exists() and not path.is_dir() and not os.access(path, os.W_OK):
        raise OutputError(f"cannot write {path}: it is write-protected")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def json_text(data: Any) -> str:
    """Indented JSON; nan and infinity, which JSON has not, become null."""
    return json.dumps(_finite(data), indent=2, ensure_ascii=False, default=str) + "\n"


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


def sha256(*parts: bytes | memoryview) -> str:
    """The SHA-256 of some bytes, or of several one after another, as hexadecimal."""
    import hashlib

    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
