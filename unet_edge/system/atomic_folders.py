"""Folders that appear complete or not at all: written beside the target, then renamed.

The next process that writes a target removes what killed processes left beside it.
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
    """Yield an empty folder beside `target`; rename it to `target` when the block succeeds.

    An existing `target` is moved aside before the rename and deleted after it. So the old folder
    or the new one is there, or for an instant neither, but never a mixture. What killed processes
    left beside `target` is removed first.
    """
    clear_leftovers(target)
    staging, lock = _make_staging(target)
    new, old = staging / "new", staging / "old"
    try:
        new.mkdir()
        yield new
        try:
            if target.exists():
                target.rename(old)
            new.rename(target)
        except BaseException:  # Ctrl-C, too, brings the old folder back
            if old.exists():
                old.rename(target)
            raise
    finally:
        # If moving the old folder back failed too, the staging folder holds the only copy.
        if target.exists() or not old.exists():
            _remove(staging)
        os.close(lock)


@contextmanager
def temporary_files_beside(target: Path) -> Iterator[None]:
    """Put all temporary files of this process beside `target` while the block runs.

    A killed converter leaves megabytes of temporary files. `clear_leftovers` finds them here.
    """
    clear_leftovers(target)
    staging, lock = _make_staging(target)
    before = tempfile.tempdir
    try:
        (staging / "tmp").mkdir()
        tempfile.tempdir = str((staging / "tmp").absolute())
        yield
    finally:
        tempfile.tempdir = before
        _delete(staging)
        os.close(lock)


def clear_leftovers(target: Path) -> None:
    """Remove what killed processes left beside `target` while they wrote it.

    A process that was killed between its two renames had moved the old folder aside: that folder
    becomes `target` again. Staging folders of running processes stay.
    """
    if not target.parent.is_dir():
        return
    for staging in sorted(target.parent.iterdir()):
        if not staging.name.startswith(_prefix(target)):
            continue
        try:
            lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # another process removed it first, or it belongs to another program
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (staging / "old").exists() and not target.exists():
                (staging / "old").rename(target)
            _remove(staging)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _remove(staging: Path) -> None:
    """Delete a staging folder; an interrupted deletion leaves no old folder to be restored."""
    old = staging / "old"
    if old.exists():
        old.rename(staging / "gone")
    _delete(staging)


def _delete(staging: Path) -> None:
    """Delete a staging folder, also while another thread still writes into it.

    Ctrl-C is raised after the deletion. What cannot be deleted stays.
    """
    # An interrupted converter may have a thread that goes on writing for a while.
    interrupted: KeyboardInterrupt | None = None
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                time.sleep(_PAUSE)
            shutil.rmtree(staging, ignore_errors=True)
            if not staging.exists():
                break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted:
        raise interrupted


def _make_staging(target: Path) -> tuple[Path, int]:
    """Make a folder beside `target` and lock it; the returned descriptor holds the lock.

    The system releases the locks of a killed process. So a process that gets the lock of a
    staging folder knows that no other process uses it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        staging = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        try:
            lock = os.open(staging, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:  # removed by another process, as below
            continue
        except KeyboardInterrupt:
            _delete(staging)
            raise
        if staging.is_dir():
            return staging, lock
        # Another process took the folder for a leftover before it was locked.
        os.close(lock)


def _prefix(target: Path) -> str:
    return f".{target.name}.unet-edge-"
