"""Connections of slow and malformed clients: limits of time and number.

uvicorn limits neither the time of a request's headers and body nor that of reading an answer. The
protocol here notes when each of them began, and `Connections` closes those that take too long.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

Phase = Literal["headers", "body", "answer", "unread"]
"""headers: a request is awaited or incomplete. body: its body is. answer: we work. unread: the
client has not read what was sent."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of connections; times in s, rates in bytes a second.

    A body may take `body` seconds, an answer `unread` seconds until it is read, and both one more
    for each `rate` bytes. All answers that are not read yet hold at most about `most_unread` bytes.

    While a client has more than `per_client` connections, or all have more than `total`, those
    that have waited for their client for more than `grace` seconds are closed, the longest waiting
    first. A connection beyond `most`, or beyond three quarters of it from one client, is refused.
    """

    headers: float = 10.0
    body: float = 10.0
    unread: float = 20.0
    rate: float = 16 * 1024
    most_unread: int = 64 * 2**20
    per_client: int = 64
    total: int = 128
    grace: float = 1.0
    most: int = 512


_SWEEP_SECONDS = 0.5


class Connections:
    """The open connections of a server."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        """No connection is open yet."""
        self.limits = limits or ConnectionLimits()
        self.open: set[WatchedProtocol] = set()
        self.closed_slow = 0
        self.refused = 0

    async def sweep_forever(self) -> None:
        """Close slow connections, twice a second."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Close the connections that are over a limit at `now`."""
        for connection in tuple(self.open):
            if connection.is_too_slow(now, self.limits):
                self.closed_slow += 1
                connection.close_slow()
        self._bound_unread()
        self._bound_number(now)

    def admit(self, new: WatchedProtocol) -> bool:
        """Take a new connection; False if there is no room."""
        same = sum(each.address == new.address for each in self.open)
        if len(self.open) >= self.limits.most or 4 * same >= 3 * self.limits.most:
            self.refused += 1
            return False
        self.open.add(new)
        return True

    def close(self) -> None:
        """Close the connections that are left when the server ends."""
        for connection in tuple(self.open):
            connection.abort()

    def _bound_unread(self) -> None:
        unread = sum(each.unread_bytes for each in self.open)
        for connection in sorted(self.open, key=lambda each: -each.unread_bytes):
            if unread <= self.limits.most_unread:
                return
            unread -= connection.unread_bytes
            self.closed_slow += 1
            connection.abort()

    def _bound_number(self, now: float) -> None:
        # Not when a connection comes: many may come at once, and what an honest client has sent
        # may not be read yet. One that was answered before may be a browser that keeps it.
        clients = Counter(each.address for each in self.open)
        for each in sorted(self.open, key=lambda each: (each.answers, each.since)):
            crowded = clients[each.address] > self.limits.per_client
            if not crowded and len(self.open) <= self.limits.total:
                continue
            if each.waits_for_client(now, self.limits.grace):
                clients[each.address] -= 1
                self.closed_slow += 1
                each.abort()


class WatchedProtocol(H11Protocol):
    """uvicorn's protocol of one connection, which knows since when it waits for its client."""

    watcher: Connections  # set by `watched_protocol`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or close at once if there is no room."""
        self.since = time.monotonic()
        self.phase: Phase = "headers"
        self.received = 0
        self.answers = 0
        self._unread_at_first = 0
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if not self.watcher.admit(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.watcher.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self.transport.is_closing():
            return
        self.received += len(data)
        super().data_received(data)
        self._note_phase()

    def on_response_complete(self) -> None:
        """Note that an answer was written."""
        self.answers += 1
        super().on_response_complete()
        self._note_phase()

    def pause_writing(self) -> None:
        """Note that the client does not read fast enough."""
        super().pause_writing()
        self._note_phase()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._note_phase()

    @property
    def unread_bytes(self) -> int:
        """Bytes that were written and not sent, because the client does not read them."""
        return self.transport.get_write_buffer_size()

    def is_too_slow(self, now: float, limits: ConnectionLimits) -> bool:
        """Whether the connection is over a limit of time at `now`."""
        self._note_phase()
        waited = now - self.since
        match self.phase:
            case "headers":
                return waited > limits.headers
            case "body":
                return waited > limits.body + self.received / limits.rate
            case "unread":
                return waited > limits.unread + self._unread_at_first / limits.rate
            case "answer":
                return False

    def waits_for_client(self, now: float, grace: float) -> bool:
        """Whether it has waited for its client for more than `grace` seconds."""
        self._note_phase()
        return self.phase != "answer" and now - self.since > grace

    def close_slow(self) -> None:
        """Answer 408 if nothing was answered yet, and close the connection."""
        if self.phase == "body" and self.cycle and not self.cycle.response_started:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            headers = [(b"connection", b"close"), (b"content-length", b"0")]
            answer = h11.Response(status_code=408, headers=headers, reason=b"Request Timeout")
            self.transport.write(self.conn.send(answer))
        self.abort()

    def abort(self) -> None:
        """Close the connection, and drop what its client has not read."""
        self.watcher.open.discard(self)  # at once: it must not be chosen again
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.abort()

    def _note_phase(self) -> None:
        phase = self._current_phase()
        if phase != self.phase:
            self.phase, self.since, self.received = phase, time.monotonic(), 0
            self._unread_at_first = self.unread_bytes

    def _current_phase(self) -> Phase:
        if self.flow.write_paused or (self.unread_bytes and self._has_answered()):
            return "unread"
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        return "headers" if self._has_answered() else "answer"

    def _has_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def watched_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """The class of the protocol that reports to `connections`, for uvicorn's `http`."""
    return type("Protocol", (WatchedProtocol,), {"watcher": connections})
