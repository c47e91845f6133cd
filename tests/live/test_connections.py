"""Slow and malformed clients: they are closed, and everybody else is served."""

import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from live_server import live_server, wait_until

from benchmarks.resident_memory import resident_bytes
from benchmarks.slow_clients import BEHAVIOURS, SlowClients
from unet_edge.live.connections import ConnectionLimits

QUICK = ConnectionLimits(headers=1, body=1, unread=1)
"""Limits that a test does not wait long for."""


@pytest.fixture(scope="module")
def server(bundle_path):
    with live_server(bundle_path, limits=QUICK) as running:
        yield running


def answer_after(server, sent, *, more=b"", every=0.2, seconds=30.0):
    """What a client gets until it is closed, which sends `more` again and again; and the time."""
    got, begun = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=every) as connection:
        with suppress(ConnectionError):  # refused before all of it was sent
            connection.sendall(sent)
        while time.monotonic() - begun < seconds:
            try:
                if not (piece := connection.recv(65536)):
                    return got, time.monotonic() - begun
                got += piece
            except TimeoutError:
                pass
            except ConnectionResetError:
                return got, time.monotonic() - begun
            try:
                connection.sendall(more)
            except OSError:
                return got, time.monotonic() - begun
    raise AssertionError(f"it was not closed; it got {got[:100]}")


def test_incomplete_headers_have_a_time_limit(server):
    got, seconds = answer_after(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n", more=b"A: b\r\n")
    assert got == b""
    assert seconds > 0.9


def test_who_says_nothing_is_closed(server):
    got, seconds = answer_after(server, b"")
    assert got == b""
    assert seconds > 0.9


@pytest.mark.parametrize("length", [b"Content-Length: 5000", b"Transfer-Encoding: chunked"])
def test_a_slow_upload_is_told_so_and_closed(server, length):
    head = b"POST /segment HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n\r\n"
    more = b"1\r\nx\r\n" if b"chunked" in length else b"x"
    got, seconds = answer_after(server, head, more=more)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert seconds > 0.9


def test_an_upload_that_comes_steadily_may_take_longer_than_the_limit(bundle_path):
    picture = (bundle_path / "golden" / "01.png").read_bytes()

    def pieces():
        for start in range(0, len(picture), len(picture) // 8 + 1):
            time.sleep(0.25)
            yield picture[start : start + len(picture) // 8 + 1]

    limits = replace(QUICK, rate=len(picture) / 8)  # one more second for each eighth
    with live_server(bundle_path, source=None, limits=limits) as server:
        begun = time.monotonic()
        answer = server.client.post("/segment", content=pieces())
        assert answer.status_code == 200
        assert time.monotonic() - begun > limits.body


def test_a_client_that_reads_nothing_is_closed(server):
    wait_until(lambda: server.parts.camera.frames)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        request = b"GET /live.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)

        def is_closed():
            try:
                connection.send(request * 20)
            except BlockingIOError:
                return False
            except OSError:
                return True
            return False

        wait_until(is_closed)


@pytest.mark.parametrize(
    "text",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        # More than the one read of 256 KiB that may hold them.
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 600_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 99_999 + b"\r\n",
        b"GET /\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    ],
)
def test_malformed_requests_are_refused_and_closed(server, text):
    got, _ = answer_after(server, text)
    assert got == b"" or got.split()[1] in (b"400", b"431", b"505"), got[:100]
    assert server.client.get("/healthz").status_code == 200


def test_a_websocket_gets_an_ordinary_answer(server):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert server.client.get("/api/state", headers=headers).status_code == 200


def count_closed(connections):
    closed = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            closed += connection.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionResetError:
            closed += 1
    return closed


def test_those_who_wait_longest_make_room(bundle_path):
    limits = ConnectionLimits(per_client=8, grace=0.3)
    with live_server(bundle_path, limits=limits) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
        try:
            wait_until(lambda: count_closed(idle[:22]) == 22)
            assert server.client.get("/api/state").status_code == 200
            assert count_closed(idle) <= 23  # that of the client may be the ninth
        finally:
            for connection in idle:
                connection.close()


def test_beyond_the_most_connections_are_refused_at_once(bundle_path):
    with live_server(bundle_path, limits=ConnectionLimits(most=8)) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        try:
            wait_until(lambda: count_closed(idle) == 14)  # three quarters of 8 are kept
        finally:
            for connection in idle:
                connection.close()
        wait_until(lambda: is_answered(server))


def is_answered(server):
    try:
        return httpx.get(f"{server.url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def threads_of_server():
    """Threads of this process but those that tests start."""
    return [each for each in threading.enumerate() if each.name != "slow clients"]


@pytest.mark.slow
def test_200_slow_clients_stall_nobody(bundle_path):
    count, seconds = 200, 15
    limits = ConnectionLimits(headers=3, body=3, unread=3)
    with live_server(bundle_path, limits=limits) as server:
        camera = server.parts.camera
        picture = (bundle_path / "golden" / "01.png").read_bytes()
        mask = server.client.post("/segment", content=picture).content
        for _ in range(20):  # what every client's first requests load
            server.client.get("/api/frame")
        memory, threads, frames = resident_bytes(), len(threads_of_server()), camera.frames
        answered = 0
        with SlowClients(server.port, count) as clients:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                sequence = camera.newest.sequence
                answers = [
                    httpx.get(f"{server.url}/api/frame?after={sequence}", timeout=30),
                    httpx.get(f"{server.url}/api/state", timeout=30),
                    httpx.get(f"{server.url}/", timeout=30),
                    httpx.post(f"{server.url}/segment", content=picture, timeout=30),
                ]
                assert [answer.status_code for answer in answers] == [200] * 4
                assert answers[3].content == mask
                answered += len(answers)
            grown = resident_bytes() - memory
            now_threads = len(threads_of_server())
        assert answered >= 4
        assert clients.closed > len(BEHAVIOURS)
        assert camera.status == "running"
        assert camera.frames > frames
        # A connection holds at most 16 KiB of headers and what h11 makes of them, 64 KiB of a body
        # that nobody reads yet, one read of 256 KiB, and 64 KiB of an answer in uvicorn beside one
        # frame. The rest is what the allocator keeps.
        each = (2 * 16 + 64 + 256 + 64 + 64) * 2**10
        assert grown < count * each + 32 * 2**20
        # Starlette's threads, at most 40 (anyio's default).
        assert now_threads <= threads + 40
    assert not camera._thread.is_alive()
