"""A lock on a run's folder: two processes that write one run would ruin it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from unet_edge.errors import ConfigError


class RunLock:
    """Holds a run's folder for this process, from `acquire` until the `with` block ends.

    The kernel lets go of it when the process ends, however that happens.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._file: int | None = None

    def acquire(self) -> None:
        """Lock the folder, unless it is locked by this object; it must exist.

        Raises ConfigError when another process holds it.
        """
        if self._file is not None:
            return
        import fcntl  # here: there is none on Windows, where only this would fail

        file = os.open(self._run, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise ConfigError(
                f"another process is training in {self._run}",
                fix="wait for it, or choose another run",
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        self._file = file

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
