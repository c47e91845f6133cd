"""Clients of a server that are slow or malformed, all in one thread.

Each misbehaves until the server closes it, and comes again half a second later, as those do who
attack.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from dataclasses import dataclass
from itertools import cycle
from typing import Self

_HOST = b"Host: localhost\r\n"
_GET = b"GET /api/frame?after=0 HTTP/1.1\r\n" + _HOST
_POST = b"POST /segment HTTP/1.1\r\n" + _HOST

_AGAIN = 0.5  # s until a closed client comes again


@dataclass(frozen=True)
class Behaviour:
    """What a client sends first and each second afterwards, and whether it reads the answer."""

    first: bytes = b""
    more: bytes = b""
    reads: bool = True
    closes_half: bool = False


BEHAVIOURS = {
    "says nothing": Behaviour(),
    "slow headers": Behaviour(b"GET / HTTP/1.1\r\n" + _HOST, b"X-A: b\r\n"),
    "slow body": Behaviour(_POST + b"Content-Length: 1000000\r\n\r\n", b"xxxx"),
    "slow chunks": Behaviour(_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "reads nothing": Behaviour((_GET + b"\r\n") * 200, reads=False),
    "garbage": Behaviour(bytes(range(256)) * 8 + b"\r\n\r\n", b"\0" * 100),
    "huge header": Behaviour(b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"x" * 60_000, b"x" * 1000),
    "many headers": Behaviour(b"GET / HTTP/1.1\r\n" + _HOST + b"A: b\r\n" * 2000, b"A: b\r\n"),
    "negative length": Behaviour(_POST + b"Content-Length: -5\r\n\r\n{}", b"{}"),
    "two lengths": Behaviour(_POST + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nx", b"x"),
    "short body": Behaviour(_POST + b"Content-Length: 100\r\n\r\n{}"),
    "TLS": Behaviour(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500),
    "half closed": Behaviour(_GET + b"\r\n", closes_half=True),
}


class SlowClients:
    """`count` clients of all behaviours, while the context lasts.

    `opened` counts their connections, `closed` those that the server closed.
    """

    def __init__(self, port: int, count: int) -> None:
        """They connect to `port` of this machine when the context begins."""
        self.opened = self.closed = 0
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow clients")
        self._behaviours = cycle(BEHAVIOURS.values())
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, Behaviour] = {}
        self._due = [time.monotonic()] * count  # when those that were closed come again

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        second = time.monotonic() + 1
        while not self._stop.is_set():
            while self._due and self._due[0] <= time.monotonic():
                self._due.pop(0)
                self._connect(next(self._behaviours))
            for key, _ in self._selector.select(0.05):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                self._read(connection)
            if time.monotonic() > second:
                second = time.monotonic() + 1
                for connection, behaviour in list(self._open.items()):
                    self._send(connection, behaviour.more)
        for connection in self._open:
            connection.close()
        self._selector.close()

    def _connect(self, behaviour: Behaviour) -> None:
        try:
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        except OSError:
            self._due.append(time.monotonic() + _AGAIN)
            return
        connection.setblocking(False)
        self.opened += 1
        self._open[connection] = behaviour
        if behaviour.reads:
            self._selector.register(connection, selectors.EVENT_READ)
        self._send(connection, behaviour.first)
        if behaviour.closes_half and connection in self._open:
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                self._forget(connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            if not connection.recv(65536):
                self._forget(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._forget(connection)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            while data:
                data = data[connection.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        if self._open.pop(connection, None) is not None:
            if connection in self._selector.get_map():
                self._selector.unregister(connection)
            connection.close()
            self.closed += 1
            self._due.append(time.monotonic() + _AGAIN)


def main(port: int, count: int) -> None:
    """Be slow until standard input is closed; then print how many connections were made."""
    import sys

    with SlowClients(port, count) as clients:
        sys.stdin.read()
    print(clients.opened, clients.closed)


if __name__ == "__main__":
    import sys

    main(int(sys.argv[1]), int(sys.argv[2]))
