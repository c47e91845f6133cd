"""The journal of a folder of masks: which photo each file is of, and which are done.

`.segment.jsonl` has a line for each photo that was begun and another when all of its files were
written. So a run that was killed at any moment goes on where it was: what has no second line is
done again, what has one is left out, as long as photo, model and settings are the same.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unet_edge.errors import ImageError, OutputError
from unet_edge.files import sha256, write_atomically
from unet_edge.pictures import place_of
from unet_edge.runtime.outputs import COLLECTED

JOURNAL = ".segment.jsonl"

# What write_atomically leaves behind when it is killed: the name between dots, eight characters.
_ASIDE = re.compile(r"\.(.+)\.[a-z0-9_]{8}")

Entry = dict[str, Any]
"""`name`, `picture` (absolute path), `owned` (every file ever written for it); when done also
`files` (those that are of this photo, model and settings), `photo` (bytes, mtime_ns, sha256),
`by` (model's digest and settings), `size` (width, height px) and `coverage`."""


class Journal:
    """The entries of a folder, by the name that the photo's files begin with.

    Several threads may be `doing` photos, each one of its own: no entry is looked at by two.
    """

    def __init__(self, folder: Path, entries: dict[str, Entry]) -> None:
        """For `opened`."""
        self._folder = folder
        self._entries = entries
        self._names = {entry["picture"]: name for name, entry in entries.items()}
        self._owned = {file for entry in entries.values() for file in entry["owned"]}
        self._appending = threading.Lock()

    def names(self, pictures: Sequence[Path]) -> list[str]:
        """A name for each picture: the one it had, else its stem, or what tells it from others.

        Nothing that belongs to another photo is ever overwritten. A photo that was moved keeps
        its name.
        """
        stems = Counter(picture.stem for picture in pictures)
        known = [self._names.get(place_of(picture)) for picture in pictures]
        taken = {name for name in known if name is not None}
        names: list[str] = []
        for picture, old in zip(pictures, known, strict=True):
            name = old
            for candidate in _candidates(picture, alone=stems[picture.stem] == 1):
                if name is not None:
                    break
                if candidate not in taken and self._free(candidate, picture):
                    name = candidate
            assert name is not None  # the candidates are endless
            taken.add(name)
            names.append(name)
        return names

    def finished(self, name: str, picture: Path, by: Any, files: Sequence[str]) -> Entry | None:
        """The photo's entry, if it was done by this model with these settings.

        None when it was not, when it has changed since, or when one of `files` is missing.
        """
        entry = self._entries.get(name)
        if (
            entry is None
            or entry.get("by") != by
            or not set(files) <= set(entry["files"])
            or not all((self._folder / file).is_file() for file in files)
            or not _is_photo(picture, entry["photo"])
        ):
            return None
        if entry["picture"] != place_of(picture):
            # Moved: another photo may come to the old place, and must not take this one's name.
            entry = {**entry, "picture": place_of(picture)}
            self._append(entry)
        return entry

    @contextlib.contextmanager
    def doing(
        self, name: str, picture: Path, photo: dict[str, Any], by: Any, files: Sequence[str]
    ) -> Iterator[Entry]:
        """Write `files` in this block, and the photo's `size` and `coverage` into the entry.

        `photo` are its `photo_facts` of before it was segmented. Before the block, what is there
        is noted to be no longer whole; after it, if it did not raise, the photo is done.
        """
        # Of the same photo, model and settings: files of other kinds remain good.
        old = self.finished(name, picture, by, ())
        kept = old["files"] if old else []
        owned = sorted({*self._entries.get(name, {}).get("owned", ()), *files})
        entry: Entry = {"name": name, "picture": place_of(picture), "owned": owned}
        self._append(entry)
        done = {**entry, "by": by, "photo": photo, "files": sorted({*kept, *files})}
        yield done
        self._append(done)

    def done_by(self, by: Any) -> list[Entry]:
        """Every photo that was done by this model with these settings."""
        return [entry for entry in self._entries.values() if entry.get("by") == by]

    def owns(self, picture: Path) -> bool:
        """Whether a file in the folder was written for a photo, and so is none itself."""
        folder, name = os.path.split(place_of(picture))
        return name in self._owned and folder == place_of(self._folder)

    def _free(self, name: str, picture: Path) -> bool:
        entry = self._entries.get(name)
        if entry is None:
            return True
        moved = not Path(entry["picture"]).exists() and "photo" in entry
        return moved and _is_photo(picture, {**entry["photo"], "mtime_ns": None})

    def _append(self, entry: Entry) -> None:
        # To the disk, as the files are: no older entry may come back and vouch for them.
        line = (json.dumps(entry) + "\n").encode()
        with self._appending:
            handle = os.open(self._folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                end = os.fstat(handle).st_size
                if os.write(handle, line) != len(line):
                    os.ftruncate(handle, end)  # another thread's line must not join half a one
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), JOURNAL)
            except BaseException:  # Ctrl-C, too, must not leave the handle open
                os.close(handle)
                raise
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self._entries[entry["name"]] = entry


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """Lock a folder, which is made if need be, clear up what a killed run left, and read it.

    Raises OutputError when another process is at work there.
    """
    import fcntl  # not on Windows

    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another unet-edge segment is writing to {folder}; "
                "wait for it, or choose another --output"
            ) from None
        entries, lines = _read(folder / JOURNAL)
        owned = {file for entry in entries.values() for file in entry["owned"]}
        owned |= {JOURNAL, *COLLECTED}
        for path in folder.iterdir():
            aside = _ASIDE.fullmatch(path.name)
            if aside and aside[1] in owned:
                path.unlink(missing_ok=True)
        if lines != len(entries):  # outdated lines, or half a one: later ones must not join it
            text = "".join(json.dumps(entry) + "\n" for entry in entries.values())
            write_atomically(folder / JOURNAL, text)
        yield Journal(folder, entries)
    finally:
        os.close(lock)


def photo_facts(picture: Path) -> dict[str, Any]:
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


def _is_photo(picture: Path, facts: dict[str, Any]) -> bool:
    """By size and time, as make and git do; where the time differs, by content."""
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


def _read(path: Path) -> tuple[dict[str, Entry], int]:
    """The last whole entry of each name, and how many lines there are."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return {}, 0
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            name, _, _ = entry["name"], entry["picture"], entry["owned"]
        except (ValueError, TypeError, KeyError):
            continue  # half a line of a killed run: its photo is not done
        if line.endswith(b"\n"):
            entries[name] = entry
    return entries, len(lines)


def _candidates(picture: Path, *, alone: bool) -> Iterator[str]:
    if alone:
        yield picture.stem
    yield picture.name
    number = 2
    while True:
        yield f"{picture.name}-{number}"
        number += 1
