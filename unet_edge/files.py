"""Writing without halves: everything goes aside first and is renamed into place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unet_edge.errors import OutputError


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file aside in the same folder and rename it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    except BaseException:
        # BaseException: Ctrl-C must not leave the aside file behind either.
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def folder_written_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; rename it there when the block succeeds.

    An existing `target` is moved aside before the rename and deleted after it, so that at every
    moment there is the old folder or the new one, or for an instant neither; never a mixture.
    What a killed process left there is cleared first.
    """
    clear_leftovers(target)
    workshop, lock = _workshop(target)
    fresh, old = workshop / "new", workshop / "old"
    try:
        fresh.mkdir()
        yield fresh
        try:
            if target.exists():
                target.rename(old)
            fresh.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    finally:
        # Where even the way back failed, the workshop holds the only copy.
        if target.exists() or not old.exists():
            shutil.rmtree(workshop, ignore_errors=True)
        os.close(lock)


@contextmanager
def temporary_files_beside(target: Path) -> Iterator[None]:
    """Let the whole process's temporary files lie beside `target` for the length of the block.

    Converters leave megabytes in /tmp when they are killed; here `clear_leftovers` finds them.
    """
    clear_leftovers(target)
    workshop, lock = _workshop(target)
    before = tempfile.tempdir
    try:
        (workshop / "tmp").mkdir()
        tempfile.tempdir = str((workshop / "tmp").absolute())
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(workshop, ignore_errors=True)
        os.close(lock)


def clear_leftovers(target: Path) -> None:
    """Remove what killed processes left beside `target` while they wrote it.

    One that was killed between its two renames had moved the old folder aside: it comes back.
    Processes that are still at work are left alone.
    """
    if not target.parent.is_dir():
        return
    for workshop in sorted(target.parent.iterdir()):
        if not workshop.name.startswith(_prefix(target)):
            continue
        try:
            lock = os.open(workshop, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # another process was faster, or it is none of ours
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (workshop / "old").exists() and not target.exists():
                (workshop / "old").rename(target)
            shutil.rmtree(workshop, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _workshop(target: Path) -> tuple[Path, int]:
    """Make a folder beside `target` and lock it; the descriptor holds the lock.

    The system lets go of a killed process's locks, so whoever gets one knows that nobody works
    there any more.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        workshop = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        lock = os.open(workshop, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if workshop.is_dir():
            return workshop, lock
        # Another process took it for a leftover before it was locked.
        os.close(lock)


def _prefix(target: Path) -> str:
    return f".{target.name}.unet-edge-"


def require_place(path: Path) -> None:
    """See that something can be written at `path`, before the work; raises OutputError."""
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


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, as hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
