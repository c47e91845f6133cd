"""The resume log of a folder of masks: which photo each file is of, and which are done.

`.segment.jsonl` has a line for each photo that was begun and another when all of its files were
written. So a run that was killed at any moment goes on where it was: what has no second line is
done again, what has one is left out, as long as photo, model and settings are the same. A file
that the log does not own, or that was changed since it was written, is never written over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unet_edge.batch.output_names import result_names
from unet_edge.batch.resume_log_entries import (
    Entry,
    Mark,
    PhotoFacts,
    Settings,
    has_mark,
    is_photo,
    marked,
    read_entries,
)
from unet_edge.errors import OutputError
from unet_edge.images.listing import absolute_path
from unet_edge.system.files import Writer, cut_name, temporary_file_target, write_atomically

RESUME_LOG = ".segment.jsonl"

_OF_ALL = ""
"""The name of the entry that owns the files of all photos."""


class Work:
    """The writing of one entry's files."""

    def __init__(self, folder: Path, entry: Entry, first: set[str]) -> None:
        """`first` are the files that were never written before. For `ResumeLog`."""
        self.entry = entry
        self._folder = folder
        self._first = first

    def write(self, file: str, data: Writer | bytes) -> None:
        """Write one of the entry's files. Raises OutputError when another's file is there."""
        mark: Mark = []
        write = data if callable(data) else lambda aside: aside.write(data)
        try:
            write_atomically(
                self._folder / file, marked(write, mark), replace=file not in self._first
            )
        except FileExistsError as error:
            raise _foreign(self._folder / file) from error
        self._first.discard(file)
        self.entry["written"][file] = mark


class ResumeLog:
    """The entries of a folder, by the name that the photo's files begin with.

    Several threads may be `doing` photos, each one of its own: no entry is looked at by two.
    """

    def __init__(self, folder: Path, entries: dict[str, Entry]) -> None:
        """For `opened`."""
        self._folder = folder
        self._place = os.path.realpath(folder)
        self._entries = entries
        self._names = {entry["picture"]: name for name, entry in entries.items()}
        self._owned = {file for entry in entries.values() for file in entry["owned"]}
        self._appending = threading.Lock()

    def names(
        self, pictures: Sequence[Path], files_of: Callable[[str], Sequence[str]]
    ) -> list[str]:
        """A name for each picture: the one it had, else its stem, or what tells it from others.

        `files_of` gives the files to be written under a name: one that would need another's file
        is not taken. A photo that was moved keeps its name.
        """
        known = [self._names.get(absolute_path(picture)) for picture in pictures]
        return result_names(
            pictures,
            known,
            lambda name, picture: self._free(name, picture, files_of(name)),
            self._folder,
        )

    def finished(
        self, name: str, picture: Path, by: Settings, files: Sequence[str]
    ) -> Entry | None:
        """The photo's entry, if it was done by this model with these settings.

        None when it was not, when it has changed since, or when one of `files` is missing.
        """
        entry = self._entries.get(name)
        if (
            entry is None
            or entry.get("by") != by
            or not set(files) <= set(entry["files"])
            or not all((self._folder / file).is_file() for file in files)
            or not is_photo(picture, entry["photo"])
        ):
            return None
        if entry["picture"] != absolute_path(picture):
            # Moved: another photo may come to the old place, and must not take this one's name.
            entry = {**entry, "picture": absolute_path(picture)}
            self._append(entry)
        return entry

    @contextlib.contextmanager
    def doing(
        self, name: str, picture: Path, photo: PhotoFacts, by: Settings, files: Sequence[str]
    ) -> Iterator[Work]:
        """Write `files` in this block, and the photo's `size` and `coverage` into the entry.

        `photo` are its `photo_facts`, taken before it was segmented. Before the block, the log
        notes that the photo's files are no longer whole; after it, if it did not raise, that the
        photo is done. Raises OutputError when one of `files` is not the log's to write.
        """
        # Of the same photo, model and settings: files of other kinds remain good.
        old = self.finished(name, picture, by, ())
        kept = old["files"] if old else []
        with self._writing(name, absolute_path(picture), files) as work:
            work.entry |= {"by": by, "photo": photo, "files": sorted({*kept, *files})}
            yield work

    @contextlib.contextmanager
    def collecting(self, files: Sequence[str]) -> Iterator[Work]:
        """Write files that are of all photos in this block. Raises OutputError as `doing`."""
        with self._writing(_OF_ALL, "", files) as work:
            yield work

    def require_own(self, name: str, files: Sequence[str]) -> set[str]:
        """Those of `files` that are not there, nor ever were; the others are an entry's own.

        Raises OutputError for a file that was not written for the entry or is changed since.
        """
        entry = self._entries.get(name)
        owned = set(entry["owned"]) if entry else set()
        written = entry["written"] if entry else {}
        for file in files:
            path = self._folder / file
            if file not in owned:
                if os.path.lexists(path):
                    raise _foreign(path)
            elif (mark := written.get(file)) and not has_mark(path, mark):
                raise OutputError(
                    f"{path} was changed since segment wrote it",
                    fix="move it away, or choose another --output",
                )
        return {file for file in files if file not in owned}

    def require_collected(self, files: Sequence[str]) -> None:
        """Raise OutputError as `collecting` does, before the work."""
        self.require_own(_OF_ALL, files)

    def done_by(self, by: Settings) -> list[Entry]:
        """Every photo that was done by this model with these settings."""
        return [entry for entry in self._entries.values() if entry.get("by") == by]

    def owns(self, picture: Path) -> bool:
        """Whether a file in the folder was written for a photo, and so is none itself."""
        return picture.name in self._owned and os.path.realpath(picture.parent) == self._place

    @contextlib.contextmanager
    def _writing(self, name: str, picture: str, files: Sequence[str]) -> Iterator[Work]:
        first = self.require_own(name, files)
        old = self._entries.get(name)
        marks = old["written"] if old else {}
        written = {file: mark for file, mark in marks.items() if file not in files}
        owned = sorted({*(old["owned"] if old else ()), *files})
        entry: Entry = {"name": name, "picture": picture, "owned": owned, "written": written}
        self._append(entry)
        work = Work(self._folder, {**entry, "written": dict(written)}, first)
        try:
            yield work
        except BaseException:
            # What was not written is nobody's yet: a file that comes there is another's.
            still = [file for file in owned if file not in first]
            left: Entry = {**entry, "owned": still, "written": work.entry["written"]}
            with contextlib.suppress(OSError):  # as on a full disk; the first error is raised
                self._append(left)
            raise
        self._append(work.entry)

    def _free(self, name: str, picture: Path, files: Sequence[str]) -> bool:
        entry = self._entries.get(name)
        if entry is None:
            return not any(os.path.lexists(self._folder / file) for file in files)
        moved = not Path(entry["picture"]).exists() and "photo" in entry
        return moved and is_photo(picture, {**entry["photo"], "mtime_ns": None})

    def _append(self, entry: Entry) -> None:
        # To the disk, as the files are: no older entry may come back and vouch for them.
        line = (json.dumps(entry) + "\n").encode()
        path = self._folder / RESUME_LOG
        try:
            with self._appending:
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                try:
                    end = os.fstat(handle).st_size
                    if os.write(handle, line) != len(line):
                        os.ftruncate(handle, end)  # another thread's line must not join half a one
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except BaseException:  # Ctrl-C, too, must not leave the handle open
                    os.close(handle)
                    raise
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            error.filename = str(path)
            raise
        self._entries[entry["name"]] = entry


def _foreign(path: Path) -> OutputError:
    return OutputError(
        f"{path} is there and was not written by segment",
        fix="move it away, or choose another --output",
    )


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[ResumeLog]:
    """Lock a folder, which is made if need be, clear up what a killed run left, and read it.

    Raises OutputError when another process is at work there, and for a file of the log's name
    that is none.
    """
    import fcntl  # not on Windows

    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another unet-edge segment is writing to {folder}",
                fix="wait for it, or choose another --output",
            ) from None
        entries, lines = read_entries(folder / RESUME_LOG)
        owned = {file for entry in entries.values() for file in entry["owned"]} | {RESUME_LOG}
        asides = {cut_name(file) for file in owned}
        for path in folder.iterdir():
            if temporary_file_target(path.name) in asides:
                path.unlink(missing_ok=True)
        if lines != len(entries):  # outdated lines, or half a one: later ones must not join it
            text = "".join(json.dumps(entry) + "\n" for entry in entries.values())
            write_atomically(folder / RESUME_LOG, text)
        yield ResumeLog(folder, entries)
    finally:
        os.close(lock)
