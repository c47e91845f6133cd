"""Which requests are served: names, origins, tokens, rates, paths."""

import asyncio
import http.client
import socket

import httpx
import pytest
from live_server import live_server
from starlette.responses import Response

from unet_edge.errors import ConfigError
from unet_edge.live.metrics import Metrics
from unet_edge.live.security import Access, Guard, RateLimit, host_name, is_loopback, require_token

TOKEN = "correct-horse-battery-staple"

GUARDED = [
    ("GET", "/api/state"),
    ("GET", "/api/frame"),
    ("POST", "/api/model"),
    ("POST", "/api/snapshot"),
    ("POST", "/api/recording"),
    ("POST", "/api/stream"),
    ("POST", "/segment"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
]


@pytest.fixture(scope="module")
def server(bundle_path):
    with live_server(bundle_path) as running:
        yield running


@pytest.fixture(scope="module")
def secret(bundle_path):
    """A server with a token."""
    with live_server(bundle_path, token=TOKEN) as running:
        yield running


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]"])
def test_names_of_this_machine_are_answered(server, name):
    for host in (name, f"{name}:{server.port}", f"{name}:80"):
        assert server.client.get("/api/state", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "192.168.1.1",
        "[::2]",
        "[::1",
        "localhost:port",
        "local host",
        "0.0.0.0",
        "",
    ],
)
def test_a_rebound_name_gets_nothing(server, host):
    for path in ("/", "/live.js", "/api/state", "/healthz"):
        answer = server.client.get(path, headers={"Host": host})
        assert answer.status_code in (400, 421), (path, answer.text)
        assert "test pattern" not in answer.text


def raw_answer(server, text):
    """The answer to a request that no library would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(text)
        connection.settimeout(30)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def test_a_request_needs_exactly_one_host(server):
    two = b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw_answer(server, two)[0] == 400
    assert raw_answer(server, b"GET /api/state HTTP/1.0\r\n\r\n")[0] == 421


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_pages_of_other_sites_are_refused(server, method, path):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{server.port + 1}"},
        {"Origin": f"http://evil.example:{server.port}"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    ):
        answer = server.client.request(method, path, headers=headers)
        assert answer.status_code == 403, (headers, answer.text)
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_itself_may_ask_and_may_be_linked_to(server):
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.client.get("/api/state", headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.client.get("/", headers=link).status_code == 200


def test_a_preflight_is_never_answered_with_permission(server):
    headers = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = server.client.request("OPTIONS", "/api/model", headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_token_is_needed_everywhere_but_for_the_page(secret, method, path):
    for authorization in (
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
    ):
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = httpx.request(method, secret.url + path, headers=headers)
        assert answer.status_code in (401, 429), (authorization, answer.text)
        assert TOKEN not in answer.text
    # However many were wrong, the right one is let in.
    assert secret.client.get("/api/state").status_code == 200


def test_the_page_and_the_health_need_no_token_and_hold_none(secret):
    for path in ("/", "/live.js", "/live.css", "/healthz"):
        answer = httpx.get(secret.url + path)
        assert answer.status_code == 200
        assert TOKEN not in answer.text
    # A token in the address would be in logs, and is not one.
    assert httpx.get(f"{secret.url}/api/state?token={TOKEN}").status_code in (401, 429)


def test_wrong_tokens_are_slowed_down(secret):
    # Ten are let through at once and one more every six seconds, so a slow machine needs more.
    for number in range(100):
        answer = secret.client.get("/api/state", headers={"Authorization": f"Bearer {number}"})
        if answer.status_code == 429:
            break
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_every_answer_has_the_security_headers(server):
    for answer in (
        server.client.get("/"),
        server.client.get("/api/state"),
        server.client.get("/nothing"),
        server.client.get("/api/state", headers={"Host": "evil.example"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    "target",
    [
        b"/../app.py",
        b"/static/../app.py",
        b"/..%2fapp.py",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/..\\..\\etc\\passwd",
        b"/live.js/../../app.py",
        b"/live.js%00.png",
        b"/live.js/",
        b"//live.js",
        b"/./live.js",
        b"/LIVE.JS",
        b"/etc/passwd",
        b"/static/live.js",
        b"/index.html",
        b"/live.js%2f..%2f..%2fapp.py",
        b"/%c0%ae%c0%ae/etc/passwd",
        b"/api/../etc/passwd",
        b"/api/recording/../../etc/passwd",
        b"file:///etc/passwd",
        b"http://localhost/../../etc/passwd",
        b"*",
        b"/\xff",
    ],
)
def test_no_path_reaches_the_file_system(server, target):
    request = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    status, body = raw_answer(server, request)
    assert status in (400, 404), body
    assert b"root:" not in body
    assert b"import" not in body


def test_host_names_are_taken_apart():
    assert host_name("Raspberry.local:8000") == "raspberry.local"
    assert host_name("[::1]:80") == "::1"
    for malformed in ("a:b", "a:1:2", "::1", "[::1]x", "a b", "a/b", "a,b", "", "a:123456"):
        assert host_name(malformed) is None


def test_an_address_is_a_name_only_where_the_connection_came_to_it():
    access = Access.of(["pi.local"])
    assert access.knows("192.0.2.7:8000", "192.0.2.7")
    assert access.knows("192.0.2.7", "::ffff:192.0.2.7")
    assert access.knows("[fe80::1]", "fe80::1%eth0")
    assert not access.knows("192.0.2.8", "192.0.2.7")
    assert not access.knows("192.0.2.7", None)
    assert not access.knows("other.local", "192.0.2.7")
    assert access.knows("PI.local.", "192.0.2.7")


def test_loopback_addresses_are_told_from_others():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.3.4.5", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "pi.local", "")))


def test_a_rate_is_a_burst_and_then_a_pace():
    now = 0.0
    limit = RateLimit(rate=2, burst=3, now=lambda: now)
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait("b") == 0  # another client
    now = 0.25
    assert limit.wait("a") == pytest.approx(0.25)
    now = 0.5
    assert limit.wait("a") == 0
    assert limit.wait("a") == pytest.approx(0.5)


def test_a_client_that_posts_without_end_is_slowed_down():
    async def app(scope, receive, send):
        await Response()(scope, receive, send)

    guard = Guard(app, Access.of(["localhost"]), Metrics(), page=frozenset(), known=frozenset())
    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    def post(client):
        scope = {
            "type": "http", "method": "POST", "path": "/segment", "client": (client, 1),
            "headers": [(b"host", b"localhost")],
        }  # fmt: skip
        asyncio.run(guard(scope, None, send))

    for _ in range(2000):
        post("192.0.2.1")
    assert statuses[:400] == [200] * 400
    assert 429 in statuses
    post("192.0.2.2")
    assert statuses[-1] == 200


def test_clients_of_a_rate_limit_take_bounded_memory():
    limit = RateLimit(rate=1, burst=1)
    for number in range(5000):
        limit.wait(str(number))
    assert len(limit._clients) == RateLimit.MOST


@pytest.mark.parametrize("token", ["short", "x" * 15, "with a space and more", "ümlaut" * 5, ""])
def test_weak_tokens_are_refused(token):
    with pytest.raises(ConfigError, match="at least 16"):
        require_token(token, "FILE")
    assert require_token("  abcdefghijklmnop\n", "FILE") == "abcdefghijklmnop"
