"""The board's temperature and throttling, read now and then."""

from __future__ import annotations

import threading
import time

from unet_edge.system.board import Board, read_board

_SECONDS = 5.0  # it is read at most this often: on a Pi that starts a program


class BoardReader:
    """Reads the board, not more often than every 5 s."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._lock = threading.Lock()
        self._read: tuple[float, Board] | None = None

    def board(self) -> Board:
        """The board as it was at most 5 s ago. It may take a second: call it in a thread."""
        with self._lock:
            if self._read is None or time.monotonic() - self._read[0] > _SECONDS:
                self._read = time.monotonic(), read_board()
            return self._read[1]
