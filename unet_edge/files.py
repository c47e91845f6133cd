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
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        # BaseException: Ctrl-C must not leave the aside file behind either.
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def folder_written_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; rename it there when the block succeeds.

    An existing `target` is moved away first and deleted after the rename, so that at every
    moment there is the old folder, or the new one, or (between two renames) the old one under
    its hidden name; never a mixture.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    os.chmod(aside, 0o777 & ~_umask())
    try:
        yield aside
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
            os.replace(target, old / target.name)
            try:
                os.replace(aside, target)
            except BaseException:
                os.replace(old / target.name, target)
                raise
            finally:
                if target.exists():
                    shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, as hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
