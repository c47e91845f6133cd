"""Writing without halves: everything goes aside first and is renamed into place."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
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


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, as hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
