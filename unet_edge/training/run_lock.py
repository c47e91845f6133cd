"""A lock on a run's folder, so that only one process writes it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from unet_edge.errors import ConfigError


class RunLock:
    """Locks a run's folder for this process, from `acquire` to the end of the `with` block.

    The kernel releases the lock when the process ends, for any reason.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._file: int | None = None

    def acquire(self) -> None:
        """Lock the folder, which must exist; does nothing if this object has locked it.

        Raises ConfigError if another process has locked it.
        """
        if self._file is not None:
            return
        import fcntl  # late, because Windows has no such module

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
