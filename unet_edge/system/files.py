"""Writing without halves: everything goes aside first and is renamed into place.

What writes and hashes is imported where it is used: `import unet_edge` would pay for it.
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
"""Writes what it stands for into an open file, front to back."""


def write_atomically(path: Path, data: bytes | str | Writer, *, replace: bool = True) -> None:
    """Write a file aside in the same folder and rename it to `path`.

    Several threads may write at once, each to its own path. Raises FileExistsError when there is
    something at `path` and `replace` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: its files are for their owner alone, and the umask that would change it can
    # only be read by setting it, which other threads would notice.
    aside = path.parent / f".{cut_name(path.name)}.{os.urandom(4).hex()}{_ASIDE_SUFFIX}"
    try:
        _write_new(aside, data)
        if replace:
            aside.replace(path)
        else:
            _move_to_free(aside, path)
    except BaseException as error:
        # BaseException: Ctrl-C must not leave the aside file behind either.
        with contextlib.suppress(OSError):  # the first error is raised
            aside.unlink(missing_ok=True)
        # A full disk names no file, others name the aside one.
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = str(path), None
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


def _write_new(path: Path, data: bytes | str | Writer) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(handle, "wb") as file:
        if callable(data):
            data(file)
        else:
            file.write(utf8(data) if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


_ASIDE_SUFFIX = ".unet-edge"
_ASIDE_EXTRA = 2 + 8 + len(_ASIDE_SUFFIX)  # bytes: two dots and eight digits
_LONGEST_NAME = 255  # bytes, of ext4, btrfs, XFS, APFS and NTFS


def cut_name(name: str) -> str:
    """The beginning of a file's name, short enough for the name it has while it is written."""
    whole = os.fsencode(name)
    most = _LONGEST_NAME - _ASIDE_EXTRA
    return name if len(whole) <= most else whole[:most].decode(errors="ignore")


def written_aside(name: str) -> str | None:
    """The `cut_name` of the file that was being written as `name`, None for any other file."""
    stem = name.removesuffix(_ASIDE_SUFFIX)
    if stem == name or not name.startswith("."):
        return None
    target, _, digits = stem[1:].rpartition(".")
    return target if len(digits) == 8 and set(digits) <= set("0123456789abcdef") else None


def _move_to_free(aside: Path, path: Path) -> None:
    """Rename a file to a name that nothing has; raises FileExistsError when something has it."""
    try:
        os.link(aside, path)  # fails when something is there, as a rename does not
    except FileExistsError:
        raise
    except OSError:  # FAT, exFAT and some network folders have no hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        aside.replace(path)
    else:
        aside.unlink()


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


_MOST_OWN = 2**28  # bytes; a report has up to 5 MB, a sheet of pictures tens


def require_own(path: Path, is_own: Callable[[bytes], bool], made_by: str) -> None:
    """See that nothing is lost when `path` is written; raises OutputError.

    It may be new, or a file of which `is_own` says that the command `made_by` wrote it.
    """
    try:
        own = not os.path.lexists(path) or (
            path.is_file() and is_own(read_regular(path, _MOST_OWN))
        )
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    if not own:
        raise OutputError(
            f"{path} is there and was not written by {made_by}",
            fix="move it away, or choose another place",
        )


def utf8(text: str) -> bytes:
    """Text as UTF-8. The bytes of a name that are no UTF-8 are written as `\\udce9`."""
    return text.encode(errors="backslashreplace")


def json_text(data: Any) -> str:
    """Indented JSON; nan and infinity, which JSON has not, become null.

    Names that are no UTF-8 are escaped: `json.loads` gives Python's name of the file back.
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
    """The SHA-256 of some bytes, or of several one after another, as hexadecimal."""
    import hashlib

    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
