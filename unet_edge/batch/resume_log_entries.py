"""The entries of a resume log, and how they identify a photo and a written file."""

from __future__ import annotations

import functools
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, cast

from unet_edge.errors import ImageError, OutputError, StreamError
from unet_edge.images.picture_file import file_and_page
from unet_edge.system.files import Writer, sha256

Mark = list[int]
"""A written file's size in bytes and CRC-32. A folder's mark is that of one of its files, whose
CRC-32 goes on over the other ones, and their number."""


class _Facts(TypedDict):
    bytes: int
    mtime_ns: int | None
    sha256: str


class PhotoFacts(_Facts, total=False):
    """The identity of a photo's file: size in bytes, time of change, SHA-256.

    With `sampled`, for videos, the SHA-256 is that of three pieces of the file.
    """

    sampled: bool


class Settings(TypedDict, total=False):
    """What masks depend on besides the photo: the model's digest and options of `segment`."""

    model: str
    edges: str
    tiles: dict[str, float]
    legend: str
    video: dict[str, Any]


class _Begun(TypedDict):
    name: str
    picture: str
    owned: list[str]
    written: dict[str, Mark]


class Entry(_Begun, total=False):
    """A photo that was begun; with `by`, it is finished.

    `picture` is its absolute path. `owned` lists every file that was ever written for it, and
    `written` the marks of its current files. A finished photo has the model and settings `by`,
    its `files` with them, its `size` (width, height) in px, and the share of each class as
    `coverage`. A video also has its number of `frames` and its `seconds`. The
    entry without name and picture owns the files for all photos.
    """

    files: list[str]
    photo: PhotoFacts
    by: Settings
    size: list[int]
    coverage: dict[str, float]
    frames: int
    seconds: float


_START = b'{"name": '


def read_entries(path: Path) -> tuple[dict[str, Entry], int]:
    """The last complete entry of each name, and the number of lines.

    Raises OutputError when the file is not a resume log.
    """
    if not os.path.lexists(path):
        return {}, 0
    if path.is_symlink() or not path.is_file():
        raise _not_a_resume_log(path)
    lines = path.read_bytes().splitlines(keepends=True)
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None  # an incomplete line of a killed run: its photo is not finished
        if _is_entry(entry):
            if line.endswith(b"\n"):
                entries[entry["name"]] = entry
        # Some file systems end in zeros after a power cut.
        elif not _START.startswith(line.strip(b"\0\n")[: len(_START)]):
            raise _not_a_resume_log(path)
    return entries, len(lines)


def _not_a_resume_log(path: Path) -> OutputError:
    return OutputError(
        f"{path} is not a resume log of unet-edge segment",
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


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def photo_facts(picture: Path) -> PhotoFacts:
    """The identity of a photo's file. Raises ImageError when it cannot be read."""
    try:
        status, digest = _status_and_digest(picture)
    except FileNotFoundError:
        raise ImageError(f"no such picture: {picture}") from None
    except OSError as error:
        raise ImageError(f"cannot read {picture}: {error.strerror or error}") from error
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": digest}


def _status_and_digest(picture: Path) -> tuple[os.stat_result, str]:
    file, page = file_and_page(picture)
    status = file.stat()
    if not page:
        return status, sha256(file.read_bytes())
    return status, _digest_of_pages(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _digest_of_pages(file: Path, size: int, mtime_ns: int) -> str:
    """The digest of a file of several pages: computed once, not once a page."""
    return sha256(file.read_bytes())


def video_facts(video: Path) -> PhotoFacts:
    """The identity of a video's file, which is not read in full. Raises StreamError."""
    try:
        status = video.stat()
        digest = _sampled(video)
    except OSError as error:
        raise StreamError(f"cannot read {video}: {error.strerror or error}") from error
    return {
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": digest,
        "sampled": True,
    }


_PIECE = 2**20  # bytes of each of the three pieces


def _sampled(video: Path) -> str:
    """The SHA-256 of the beginning, the middle and the end of a file."""
    size = video.stat().st_size
    pieces = []
    with video.open("rb") as file:
        for place in (0, size // 2, max(0, size - _PIECE)):
            file.seek(place)
            pieces.append(file.read(_PIECE))
    return sha256(*pieces)


def is_photo(picture: Path, facts: PhotoFacts) -> bool:
    """Whether a photo has these facts: same size and time, or else same content, as in git."""
    try:
        status = file_and_page(picture)[0].stat()
        if status.st_size != facts["bytes"]:
            return False
        same: bool = (
            status.st_mtime_ns == facts["mtime_ns"] or _digest(picture, facts) == facts["sha256"]
        )
    except OSError:
        return False
    return same


def _digest(picture: Path, facts: PhotoFacts) -> str:
    return _sampled(picture) if facts.get("sampled") else _status_and_digest(picture)[1]


def marked(write: Writer, mark: Mark) -> Writer:
    """A writer that also fills the empty list `mark` with the file's Mark."""

    def wrapper(file: BinaryIO) -> None:
        mark[:] = [0, 0]
        write(cast(BinaryIO, _Marking(file, mark)))

    return wrapper


def mark_of(path: Path) -> Mark:
    """The mark of a file that is written already."""
    size = checksum = 0
    for block in _blocks(path):
        size += len(block)
        checksum = zlib.crc32(block, checksum)
    return [size, checksum]


def folder_mark(path: Path) -> Mark:
    """The mark of a finished folder, by one of its files. Hidden files do not count."""
    size, checksum = mark_of(path)
    others = sorted(
        other for other in path.parent.iterdir() if other != path and other.name[0] != "."
    )
    for other in others:
        checksum = zlib.crc32(os.fsencode(other.name), checksum)
        for block in _blocks(other):
            checksum = zlib.crc32(block, checksum)
    return [size, checksum, len(others)]


def is_of_folder(mark: Mark) -> bool:
    """Whether `folder_mark` gave it."""
    return len(mark) > 2


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def has_mark(path: Path, mark: Mark) -> bool:
    """Whether a file is unchanged since it was written, or missing."""
    try:
        if path.lstat().st_size != mark[0]:
            return False
        return (folder_mark(path) if is_of_folder(mark) else mark_of(path)) == mark
    except FileNotFoundError:
        return not os.path.lexists(path.parent if is_of_folder(mark) else path)
    except OSError:
        return False


class _Marking:
    """A file that is written front to back and updates a Mark."""

    def __init__(self, file: BinaryIO, mark: Mark) -> None:
        self._file = file
        self._mark = mark

    def write(self, data: bytes) -> int:
        self._mark[0] += len(data)
        self._mark[1] = zlib.crc32(data, self._mark[1])
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
