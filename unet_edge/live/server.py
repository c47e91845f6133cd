"""The HTTP server: a socket, uvicorn on it, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from unet_edge.errors import ConfigError
from unet_edge.live.connections import Connections, watched_protocol

_SEND_BUFFER = 2**18  # bytes; a frame's message has about 100 kB

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server; port 0 takes a free one. Raises ConfigError if that fails."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host} is no address of this machine ({error})", fix="name another --host"
        ) from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. By itself, Linux keeps up to 4 MB for a client that reads nothing.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise _cannot_listen(host, port, error) from None
    return opened


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            return ConfigError(
                f"port {port} of {host} is taken by another program",
                fix="choose another --port, or stop the other program",
            )
        case errno.EACCES:
            return ConfigError(
                f"port {port} needs the rights of root", fix="choose a --port from 1024 on"
            )
        case errno.EADDRNOTAVAIL:
            return ConfigError(
                f"{host} is no address of this machine", fix="name another --host, or 0.0.0.0"
            )
        case _:
            return ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}")


class Server(uvicorn.Server):
    """A uvicorn server that ends without an exception on Ctrl-C or SIGTERM."""

    def __init__(
        self,
        app: Any,
        connections: Connections,
        *,
        on_start: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_start` and `on_end` are called in the event loop: once it serves, and at the end."""
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=watched_protocol(connections),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=16384,
            )
        )
        # uvicorn warns of every malformed request: a stranger could fill the log.
        log = logging.getLogger("uvicorn.error")
        log.setLevel(logging.ERROR)
        log.addFilter(_is_fault)
        self._connections = connections
        self._on_start, self._on_end = on_start, on_end

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the signals end the server; afterwards, Ctrl-C is ignored until the process ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in _SIGNALS}
        try:
            yield
        finally:
            # uvicorn's own would raise the signals again. What is open is closed next, such as a
            # recording, which a second Ctrl-C must not break; SIGTERM still ends the process.
            signal.signal(signal.SIGTERM, before[signal.SIGTERM])
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end. A second signal changes nothing: timeout(1) sends SIGINT twice."""
        # uvicorn's own handler cancels its tasks at the second one, and prints their tracebacks.
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: requests that wait for a frame are answered first, then all connections closed."""
        self._on_end()
        await super().shutdown(sockets)
        self._connections.close()
        await asyncio.sleep(0)  # the loop frees their sockets


def _is_fault(record: logging.LogRecord) -> bool:
    """Whether uvicorn logs a fault, and not a request that was cut off by the server's end."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, asyncio.CancelledError) or str(record.msg).startswith("Cancel "))
