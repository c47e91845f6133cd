"""The lines of a folder's resume log, and what they know a photo and a written file by."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, cast

from unet_edge.errors import ImageError, OutputError
from unet_edge.system.files import Writer, sha256

Mark = list[int]
"""A written file's size in bytes and CRC-32."""


class PhotoFacts(TypedDict):
    """What tells a photo's file from others: size in bytes, time of change, SHA-256."""

    bytes: int
    mtime_ns: int | None
    sha256: str


class Settings(TypedDict, total=False):
    """What masks depend on beside the photo: the model's digest and the options of `segment`."""

    model: str
    edges: str
    tiles: dict[str, float]
    legend: str


class _Begun(TypedDict):
    name: str
    picture: str
    owned: list[str]
    written: dict[str, Mark]


class Entry(_Begun, total=False):
    """A photo that was begun, and when it is done what became of it.

    `picture` is its absolute path, `owned` every file ever written for it, `written` the marks of
    those that are as they were written. When it is done, `files` are those of this photo, model and
    settings, `size` is (width, height) px, and `coverage` each class's share. The entry of no name
    and no picture owns the files that are of all photos.
    """

    files: list[str]
    photo: PhotoFacts
    by: Settings
    size: list[int]
    coverage: dict[str, float]


_START = b'{"name": '


def read_entries(path: Path) -> tuple[dict[str, Entry], int]:
    """The last whole entry of each name, and how many lines there are.

    Raises OutputError for a file that is no resume log.
    """
    if not os.path.lexists(path):
        return {}, 0
    if path.is_symlink() or not path.is_file():
        raise _no_resume_log(path)
    lines = path.read_bytes().splitlines(keepends=True)
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None  # half a line of a killed run: its photo is not done
        if _is_entry(entry):
            if line.endswith(b"\n"):
                entries[entry["name"]] = entry
        # Some file systems end in zeros after a power cut.
        elif not _START.startswith(line.strip(b"\0\n")[: len(_START)]):
            raise _no_resume_log(path)
    return entries, len(lines)


def _no_resume_log(path: Path) -> OutputError:
    return OutputError(
        f"{path} is no resume log of unet-edge segment",
        fix="move it away, or choose another --output",
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("picture"), str)
        and _are_names(entry.get("owned"))
        and isinstance(entry.get("written"), dict)
        and ("by" not in entry or (_are_names(entry.get("files")) and _is_done(entry)))
    )


def _is_done(entry: dict[str, Any]) -> bool:
    return (
        isinstance(entry.get("photo"), dict)
        and {"bytes", "mtime_ns", "sha256"} <= set(entry["photo"])
        and isinstance(entry.get("coverage"), dict)
        and isinstance(entry.get("size"), list)
        and len(entry["size"]) == 2
    )


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)


def photo_facts(picture: Path) -> PhotoFacts:
    """What tells a photo's file from others: size in bytes, time of change, SHA-256.

    Raises ImageError when it cannot be read.
    """
    try:
        status = picture.stat()
        digest = sha256(picture.read_bytes())
    except FileNotFoundError:
        raise ImageError(f"no such picture: {picture}") from None
    except OSError as error:
        raise ImageError(f"cannot read {picture}: {error.strerror or error}") from error
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": digest}


def is_photo(picture: Path, facts: PhotoFacts) -> bool:
    """Whether a photo is the one of `facts`: by size and time, else by content, as git does."""
    try:
        status = picture.stat()
        if status.st_size != facts["bytes"]:
            return False
        same: bool = (
            status.st_mtime_ns == facts["mtime_ns"]
            or sha256(picture.read_bytes()) == facts["sha256"]
        )
    except OSError:
        return False
    return same


def marked(write: Writer, mark: Mark) -> Writer:
    """A writer that also puts the file's Mark into the empty list `mark`."""

    def wrapper(file: BinaryIO) -> None:
        mark[:] = [0, 0]
        write(cast(BinaryIO, _Marking(file, mark)))

    return wrapper


def has_mark(path: Path, mark: Mark) -> bool:
    """Whether a file is as it was written; true where there is none."""
    try:
        if path.lstat().st_size != mark[0]:
            return False
        found = 0
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found = zlib.crc32(block, found)
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False
    return found == mark[1]


class _Marking:
    """A file that is written front to back, whose Mark is kept."""

    def __init__(self, file: BinaryIO, mark: Mark) -> None:
        self._file = file
        self._mark = mark

    def write(self, data: bytes) -> int:
        self._mark[0] += len(data)
        self._mark[1] = zlib.crc32(data, self._mark[1])
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
