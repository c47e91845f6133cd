"""Files that appear complete or not at all, and files read in bounded time and memory.

Modules that write or hash are imported inside functions, to keep `import unet_edge` fast.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from unet_edge.errors import OutputError

Writer = Callable[[BinaryIO], object]
"""A function that writes a file's contents into an open file, front to back."""


def write_atomically(path: Path, data: bytes | str | Writer, *, replace: bool = True) -> None:
    """Write a temporary file in the same folder and rename it to `path`.

    Several threads may write at once, each to its own path. Raises FileExistsError when `path`
    exists and `replace` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        _write_new(temporary, data)
        if replace:
            temporary.replace(path)
        else:
            _rename_without_replacing(temporary, path)
    except BaseException as error:
        # BaseException: Ctrl-C must not leave the temporary file behind either.
        with contextlib.suppress(OSError):  # the first error is raised
            temporary.unlink(missing_ok=True)
        # The error of a full disk names no file, others name the temporary file.
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def read_regular(path: str | Path, most: int, size: int | None = None) -> bytes:
    """Read a regular file of at most `most` bytes, or of exactly `size` bytes.

    Any other file raises OSError before it is read. So time and memory are bounded: a fifo or a
    device has no end, and a sparse file may claim terabytes.
    """
    # Without O_NONBLOCK, opening a fifo waits for another process to write into it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise OSError("it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file; copy it into one")
        if size is not None and status.st_size != size:
            raise OSError(f"it has {status.st_size:,} bytes, expected {size:,}")
        if status.st_size > most:
            raise OSError(f"it has {status.st_size:,} bytes, expected at most {most:,}")
        pieces = []
        remaining = status.st_size
        while remaining and (piece := os.read(handle, remaining)):  # a read may return less
            pieces.append(piece)
            remaining -= len(piece)
    finally:
        os.close(handle)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write_new(path: Path, data: bytes | str | Writer) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(handle, "wb") as file:
        if callable(data):
            data(file)
        else:
            file.write(utf8(data) if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


_TEMPORARY_SUFFIX = ".unet-edge"
_TEMPORARY_EXTRA = 2 + 8 + len(_TEMPORARY_SUFFIX)  # bytes: two dots and eight digits
_LONGEST_NAME = 255  # bytes, of ext4, btrfs, XFS, APFS and NTFS


def temporary_path(path: Path) -> Path:
    """A new name beside `path`, under which to write what becomes `path`."""
    # Not by tempfile: only their owner may read its files, and the umask that says who else may
    # can only be read by setting it, which other threads would notice.
    return path.parent / f".{cut_name(path.name)}.{os.urandom(4).hex()}{_TEMPORARY_SUFFIX}"


def synced(path: Path) -> None:
    """Wait until a file's contents are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cut_name(name: str) -> str:
    """Cut a file's name so that the name of its temporary file is not too long."""
    encoded = os.fsencode(name)
    most = _LONGEST_NAME - _TEMPORARY_EXTRA
    return name if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def temporary_file_target(name: str) -> str | None:
    """The `cut_name` of the target of a temporary file called `name`; None for other files."""
    stem = name.removesuffix(_TEMPORARY_SUFFIX)
    if stem == name or not name.startswith("."):
        return None
    target, _, digits = stem[1:].rpartition(".")
    return target if len(digits) == 8 and set(digits) <= set("0123456789abcdef") else None


def _rename_without_replacing(source: Path, path: Path) -> None:
    """Rename a file; raises FileExistsError when `path` exists."""
    try:
        os.link(source, path)  # fails when `path` exists, which a rename does not
    except FileExistsError:
        raise
    except OSError:  # FAT, exFAT and some network folders have no hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        source.replace(path)
    else:
        source.unlink()


def require_writable_path(path: Path) -> None:
    """Raise OutputError unless `path` can be written; makes its folder. Call it before the work."""
    import tempfile

    folder = path if path.is_dir() else path.absolute().parent
    if path.exists() and not path.is_dir() and not os.access(path, os.W_OK):
        raise OutputError(
            f"cannot write {path}: it is write-protected",
            fix="choose another place",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


_MOST_REPLACEABLE = 2**28  # bytes; a report has up to 5 MB, a sheet of pictures tens of MB


def require_replaceable(path: Path, is_own: Callable[[bytes], bool], made_by: str) -> None:
    """Raise OutputError unless `path` is free, or a file that the command `made_by` wrote.

    `is_own` takes the bytes of the file and says whether the command wrote them.
    """
    try:
        replaceable = not os.path.lexists(path) or (
            path.is_file() and is_own(read_regular(path, _MOST_REPLACEABLE))
        )
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    if not replaceable:
        raise OutputError(
            f"{path} exists and was not written by {made_by}",
            fix="move it, or choose another place",
        )


def utf8(text: str) -> bytes:
    r"""Encode as UTF-8; bytes of a file name that are not UTF-8 are escaped, such as \udce9."""
    return text.encode(errors="backslashreplace")


def json_text(data: Any) -> str:
    """Indented JSON; NaN and infinity become null, since JSON has neither.

    File names that are not UTF-8 are escaped, so that `json.loads` restores Python's own name.
    """
    text = json.dumps(_finite(data), indent=2, ensure_ascii=False, default=str) + "\n"
    return utf8(text).decode()


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


def sha256(*parts: bytes | memoryview) -> str:
    """The SHA-256 of the parts one after another, as hexadecimal digits."""
    import hashlib

    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
