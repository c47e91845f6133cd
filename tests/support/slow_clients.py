"""Clients that are slow or malformed, in one thread: each misbehaves until it is closed.

A closed client comes again at once, as those who attack do.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from itertools import cycle

_HOST = b"Host: localhost\r\n"
_GET = b"GET /api/frame?after=0 HTTP/1.1\r\n" + _HOST

# What a client sends at first, what it sends each second afterwards, and whether it reads.
Behaviour = tuple[bytes, bytes, bool]

BEHAVIOURS: dict[str, Behaviour] = {
    "says nothing": (b"", b"", True),
    "slow headers": (b"GET / HTTP/1.1\r\n" + _HOST, b"X-A: b\r\n", True),
    "slow body": (
        b"POST /segment HTTP/1.1\r\n" + _HOST + b"Content-Length: 1000000\r\n\r\n",
        b"xxxx",
        True,
    ),
    "slow chunks": (
        b"POST /segment HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        True,
    ),
    "reads nothing": ((_GET + b"\r\n") * 200, b"", False),
    "garbage": (bytes(range(256)) * 8 + b"\r\n\r\n", b"\0" * 100, True),
    "huge headers": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"x" * 60_000, b"x" * 1000, True),
    "many headers": (b"GET / HTTP/1.1\r\n" + _HOST + b"A: b\r\n" * 2000, b"A: b\r\n", True),
    "wrong length": (
        b"POST /api/stream HTTP/1.1\r\n" + _HOST + b"Content-Length: -5\r\n\r\n{}",
        b"{}",
        True,
    ),
    "two lengths": (
        b"POST /segment HTTP/1.1\r\n"
        + _HOST
        + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nxxxxx",
        b"x",
        True,
    ),
    "short body": (
        b"POST /api/stream HTTP/1.1\r\n" + _HOST + b"Content-Length: 100\r\n\r\n{}",
        b"",
        True,
    ),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, b"", True),
    "half closed": (_GET + b"\r\n", b"", True),
}


class SlowClients:
    """`count` clients of all behaviours; a context manager. `closed` counts what was closed."""

    def __init__(self, port: int, count: int, now: Callable[[], float] = time.monotonic) -> None:
        self.port, self.count, self.closed = port, count, 0
        self._now = now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow clients")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def _run(self):
        selector = selectors.DefaultSelector()
        kinds = cycle(BEHAVIOURS.items())
        open_clients = {}
        paused = []  # when a closed client comes again, so that one processor is left for us
        paused = [self._now()] * self.count
        drip = self._now() + 1
        while not self._stop.is_set():
            while paused and paused[0] <= self._now():
                paused.pop(0)
                name, (first, more, reads) = next(kinds)
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                connection.setblocking(False)
                open_clients[connection] = more
                if reads:
                    selector.register(connection, selectors.EVENT_READ)
                if not self._send(connection, first):
                    self._close(connection, open_clients, selector, paused)
                elif name == "half closed":
                    connection.shutdown(socket.SHUT_WR)
            for key, _ in selector.select(0.05):
                try:
                    gone = not key.fileobj.recv(65536)
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                if gone:
                    self._close(key.fileobj, open_clients, selector, paused)
            if self._now() > drip:
                drip = self._now() + 1
                for connection, more in list(open_clients.items()):
                    if more and not self._send(connection, more):
                        self._close(connection, open_clients, selector, paused)
        for connection in open_clients:
            connection.close()
        selector.close()

    @staticmethod
    def _send(connection, data):
        try:
            while data:
                data = data[connection.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _close(self, connection, open_clients, selector, paused):
        if connection in open_clients:
            del open_clients[connection]
            if connection in selector.get_map():
                selector.unregister(connection)
            connection.close()
            self.closed += 1
            paused.append(self._now() + 0.5)
