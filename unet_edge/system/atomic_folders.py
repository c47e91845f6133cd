"""Writing whole folders without halves: aside first, then renamed into place.

Whatever a killed process leaves beside its target is cleared by the next that writes there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ATTEMPTS, _PAUSE = 20, 0.05  # s


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
        except BaseException:  # Ctrl-C, too, brings the old one back
            if old.exists():
                old.rename(target)
            raise
    finally:
        # Where even the way back failed, the workshop holds the only copy.
        if target.exists() or not old.exists():
            _remove(workshop)
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
        _delete(workshop)
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
            _remove(workshop)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _remove(workshop: Path) -> None:
    """Delete a workshop, so that half a deletion leaves no old folder to be brought back."""
    old = workshop / "old"
    if old.exists():
        old.rename(workshop / "gone")
    _delete(workshop)


def _delete(workshop: Path) -> None:
    """Delete a workshop, whatever else happens meanwhile; what is left in spite of it stays.

    Ctrl-C waits until it is deleted. A converter that was interrupted may have a thread that still
    writes there.
    """
    interrupted: KeyboardInterrupt | None = None
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                time.sleep(_PAUSE)
            shutil.rmtree(workshop, ignore_errors=True)
            if not workshop.exists():
                break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted:
        raise interrupted


def _workshop(target: Path) -> tuple[Path, int]:
    """Make a folder beside `target` and lock it; the descriptor holds the lock.

    The system lets go of a killed process's locks, so whoever gets one knows that nobody works
    there any more.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        workshop = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        try:
            lock = os.open(workshop, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:  # as below
            continue
        except KeyboardInterrupt:
            _delete(workshop)
            raise
        if workshop.is_dir():
            return workshop, lock
        # Another process took it for a leftover before it was locked.
        os.close(lock)


def _prefix(target: Path) -> str:
    return f".{target.name}.unet-edge-"
