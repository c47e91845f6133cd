"""The resume log of a folder of masks: the photo of each file, and which photos are finished.

`.segment.jsonl` gets a line when a photo is begun and another when all of its files are written.
So a run that was killed at any moment can resume. A photo with a second line is skipped, as long
as photo, model and settings are the same; others are segmented again. A file that the log does
not own, or that was changed since it was written, is never overwritten.
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
    folder_mark,
    has_mark,
    is_of_folder,
    is_photo,
    mark_of,
    marked,
    read_entries,
)
from unet_edge.errors import OutputError
from unet_edge.images.listing import absolute_path
from unet_edge.images.picture_file import file_and_page
from unet_edge.system.files import Writer, cut_name, temporary_file_target, write_atomically

RESUME_LOG = ".segment.jsonl"

_ALL_PHOTOS = ""
"""The name of the entry that owns the files for all photos."""


class Work:
    """Writes the files of one entry."""

    def __init__(self, folder: Path, entry: Entry, new_files: set[str]) -> None:
        """`new_files` were never written before. Only `ResumeLog` creates this."""
        self.entry = entry
        self._folder = folder
        self._new_files = new_files

    def write(self, file: str, data: Writer | bytes) -> None:
        """Write a file of the entry. Raises OutputError when it exists and belongs to another."""
        mark: Mark = []
        write = data if callable(data) else lambda stream: stream.write(data)
        try:
            write_atomically(
                self._folder / file, marked(write, mark), replace=file not in self._new_files
            )
        except FileExistsError as error:
            raise _foreign(self._folder / file) from error
        self._new_files.discard(file)
        self.entry["written"][file] = mark

    def take_folder(self, file: str, source: Path, old: Path) -> None:
        """Rename a finished folder to the one of `file`, which it holds; one before goes to `old`.

        Raises OutputError as `write` does.
        """
        target = (self._folder / file).parent
        if source.is_dir():  # else a run took it that was killed before it could log that
            if target.exists():
                if file in self._new_files:
                    raise _foreign(target)
                target.rename(old)
            source.rename(target)
        self._new_files.discard(file)
        self.entry["written"][file] = folder_mark(self._folder / file)

    def take(self, file: str, source: Path) -> None:
        """Rename a finished file of the same file system to a file of the entry.

        Raises OutputError as `write` does.
        """
        target = self._folder / file
        mark = mark_of(source)
        if file in self._new_files and os.path.lexists(target):
            raise _foreign(target)
        source.replace(target)
        self._new_files.discard(file)
        self.entry["written"][file] = mark


class ResumeLog:
    """The entries of a folder, by name. The names of a photo's files begin with its entry's name.

    Several threads may be `doing` different photos.
    """

    def __init__(self, folder: Path, entries: dict[str, Entry]) -> None:
        """Use `open_resume_log`."""
        self._folder = folder
        self._real_folder = os.path.realpath(folder)
        self._entries = entries
        self._names = {entry["picture"]: name for name, entry in entries.items()}
        self._owned = {file for entry in entries.values() for file in entry["owned"]}
        self._appending = threading.Lock()

    def names(
        self, pictures: Sequence[Path], files_of: Callable[[str], Sequence[str]]
    ) -> list[str]:
        """A name for each picture: the one it had, or a new one (see `result_names`).

        `files_of` gives the files of a name. A name whose files belong to another photo is not
        used. A photo that was moved keeps its name.
        """
        known = [self._names.get(absolute_path(picture)) for picture in pictures]
        return result_names(
            pictures,
            known,
            lambda name, picture: self._is_free(name, picture, files_of(name)),
            self._folder,
        )

    def finished(
        self, name: str, picture: Path, settings: Settings, files: Sequence[str]
    ) -> Entry | None:
        """The photo's entry, if it is finished with these settings.

        None when it is not, when the photo has changed, or when one of `files` is missing.
        """
        entry = self._entries.get(name)
        if (
            entry is None
            or entry.get("by") != settings
            or not set(files) <= set(entry["files"])
            or not all((self._folder / file).is_file() for file in files)
            or not is_photo(picture, entry["photo"])
        ):
            return None
        if entry["picture"] != absolute_path(picture):
            # Moved: a photo that comes to the old path must not take this one's name.
            entry = {**entry, "picture": absolute_path(picture)}
            self._append(entry)
        return entry

    @contextlib.contextmanager
    def doing(
        self, name: str, picture: Path, photo: PhotoFacts, settings: Settings, files: Sequence[str]
    ) -> Iterator[Work]:
        """Write `files` in this block, and the photo's `size` and `coverage` into the entry.

        `photo` are its `photo_facts`, taken before it was segmented. The log notes before the
        block that the photo is begun, and after it, unless it raises, that the photo is finished.
        Raises OutputError when one of `files` does not belong to the photo or was changed.
        """
        # With the same photo and settings, files of other kinds remain valid.
        old = self.finished(name, picture, settings, ())
        kept = old["files"] if old else []
        with self._writing(name, absolute_path(picture), files) as work:
            work.entry |= {"by": settings, "photo": photo, "files": sorted({*kept, *files})}
            yield work

    @contextlib.contextmanager
    def collecting(self, files: Sequence[str]) -> Iterator[Work]:
        """Write files for all photos in this block. Raises OutputError as `doing` does."""
        with self._writing(_ALL_PHOTOS, "", files) as work:
            yield work

    def require_own(self, name: str, files: Sequence[str]) -> set[str]:
        """The ones of `files` that were never written; the others belong to the entry.

        Raises OutputError for a file that belongs to another or was changed since it was written.
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
                changed = path.parent if is_of_folder(mark) else path
                raise OutputError(
                    f"{changed} was changed since segment wrote it",
                    fix="move it away, or choose another --output",
                )
        return {file for file in files if file not in owned}

    def require_collected(self, files: Sequence[str]) -> None:
        """Raise OutputError as `collecting` does, before any photo is segmented."""
        self.require_own(_ALL_PHOTOS, files)

    def done_by(self, settings: Settings) -> list[Entry]:
        """The entries that are finished with these settings."""
        return [entry for entry in self._entries.values() if entry.get("by") == settings]

    def owns(self, picture: Path) -> bool:
        """Whether a picture was written to the folder by this log, and so is not a photo."""
        return picture.name in self._owned and os.path.realpath(picture.parent) == self._real_folder

    @contextlib.contextmanager
    def _writing(self, name: str, picture: str, files: Sequence[str]) -> Iterator[Work]:
        new_files = self.require_own(name, files)
        old = self._entries.get(name)
        marks = old["written"] if old else {}
        written = {file: mark for file, mark in marks.items() if file not in files}
        owned = sorted({*(old["owned"] if old else ()), *files})
        entry: Entry = {"name": name, "picture": picture, "owned": owned, "written": written}
        self._append(entry)
        work = Work(self._folder, {**entry, "written": dict(written)}, new_files)
        try:
            yield work
        except BaseException:
            # A file that was not written is not owned: another program may create it.
            still_owned = [file for file in owned if file not in new_files]
            begun: Entry = {**entry, "owned": still_owned, "written": work.entry["written"]}
            with contextlib.suppress(OSError):  # as on a full disk; the first error is raised
                self._append(begun)
            raise
        self._append(work.entry)

    def _is_free(self, name: str, picture: Path, files: Sequence[str]) -> bool:
        entry = self._entries.get(name)
        if entry is None:
            return not any(os.path.lexists(self._folder / file) for file in files)
        moved = not file_and_page(Path(entry["picture"]))[0].exists() and "photo" in entry
        return moved and is_photo(picture, {**entry["photo"], "mtime_ns": None})

    def _append(self, entry: Entry) -> None:
        # Synced to disk like the files: after a power cut, no older entry may stand for them.
        line = (json.dumps(entry) + "\n").encode()
        path = self._folder / RESUME_LOG
        try:
            with self._appending:
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                try:
                    end = os.fstat(handle).st_size
                    if os.write(handle, line) != len(line):
                        os.ftruncate(handle, end)  # an incomplete line must not join the next one
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except BaseException:  # after Ctrl-C too, the handle must be closed
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
        f"{path} exists and was not written by segment",
        fix="move it away, or choose another --output",
    )


@contextlib.contextmanager
def open_resume_log(folder: Path) -> Iterator[ResumeLog]:
    """Lock a folder, delete the temporary files of a killed run, and read its resume log.

    The folder is created if necessary. Raises OutputError when another process has the lock, or
    when the file with the log's name is not a resume log.
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
        targets = {cut_name(file) for file in owned}
        for path in folder.iterdir():
            if temporary_file_target(path.name) in targets:
                path.unlink(missing_ok=True)
        if lines != len(entries):  # outdated or incomplete lines: the next line must not join one
            text = "".join(json.dumps(entry) + "\n" for entry in entries.values())
            write_atomically(folder / RESUME_LOG, text)
        yield ResumeLog(folder, entries)
    finally:
        os.close(lock)
