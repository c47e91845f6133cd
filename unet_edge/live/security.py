"""Which requests are served: the checks of Host, Origin, token and rate, before any handler.

- Host: a page of another site whose name was pointed to this machine (DNS rebinding) sends its own
  name. Names are allowed by a list, and an IP address only if the connection came to it.
- Origin, Sec-Fetch-Site: browsers name the site whose page sends a request. Only our own may use
  anything but the page's files.
- Token: everything but the page's files and /healthz needs it, if there is one.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from unet_edge.errors import ConfigError
from unet_edge.live.errors import RequestError, error_response
from unet_edge.live.metrics import Metrics

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),  # for browsers that know no frame-ancestors
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
)

_SHORTEST_TOKEN = 16  # characters; 96 bits of Base64 cannot be guessed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token of 256 random bits, in characters that an address can hold."""
    return secrets.token_urlsafe(32)


def require_token(text: str, source: str) -> str:
    """Check a token that the user chose. Raises ConfigError."""
    token = text.strip()
    if len(token) < _SHORTEST_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        raise ConfigError(
            f"the token in {source} is too short or has other characters",
            expected=f"it must be at least {_SHORTEST_TOKEN} letters, digits, or -._~",
            fix="run: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


class RateLimit:
    """At most `burst` events of a client at once, and `rate` a second in the long run.

    Clients are forgotten when there are more than MOST, the longest silent first.
    """

    MOST = 1024

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is the clock, in s."""
        self._rate, self._burst, self._now = rate, burst, now
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Count an event; 0 if it is allowed, else the seconds until the next one is."""
        now = self._now()
        left, then = self._clients.pop(client, (float(self._burst), now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._clients[client] = (left - 1 if allowed else left, now)
        if len(self._clients) > self.MOST:
            self._clients.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


@dataclass(frozen=True)
class Access:
    """Who may use the server: the names it answers to, and the token, None without one."""

    names: frozenset[str]
    token: str | None = None

    @classmethod
    def of(cls, names: Iterable[str], token: str | None = None) -> Access:
        """Access by names in any case, IPv6 addresses with or without brackets."""
        return cls(frozenset(name.lower().strip("[]").rstrip(".") for name in names), token)

    def knows(self, host: str, address: str | None) -> bool:
        """Whether a Host header may come to a connection at the local `address`."""
        name = host_name(host)
        if name is None:
            return False
        if name in self.names:
            return True
        try:
            return address is not None and _ip(name) == _ip(address)
        except ValueError:
            return False

    def admits(self, authorization: str | None) -> bool:
        """Whether an Authorization header has the token; True without a token."""
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        # compare_digest takes the same time wherever the first difference is.
        matches = hmac.compare_digest(given.strip().encode(), self.token.encode())
        return matches and scheme.lower() == "bearer"


def host_name(host: str) -> str | None:
    """The name in a Host header, without port and brackets; None if it is malformed."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", host.lower())
    return (match[1] or match[2]).rstrip(".") if match else None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    # A socket of both families has IPv4 addresses in the form ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


class Guard:
    """Serves what passes the checks, and adds the security headers to every answer."""

    def __init__(
        self,
        app: App,
        access: Access,
        metrics: Metrics,
        *,
        page: frozenset[str],
        known: frozenset[str],
    ) -> None:
        """Guard `app`, an ASGI application.

        `page` holds the paths of the page's files, which hold nothing secret; they and /healthz
        need no token, and pages of other sites may link to them. Answers are counted in `metrics`
        by their path, if `known` or `page` has it.
        """
        self._app, self._access, self._metrics = app, access, metrics
        self._page, self._known = page, known | page
        # The page posts when somebody presses a button; programs post pictures, whose own bound is
        # the queue. This one stops a client that posts faster than anything here could answer.
        self._posts = RateLimit(rate=200, burst=400)
        self._failures = RateLimit(rate=1 / 6, burst=10)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"no such scope: {scope['type']}")

        begun = time.monotonic()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope["path"], message["status"], begun)
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            self._check(scope)
        except RequestError as refused:
            answer = error_response(refused.status, refused.error, refused.headers)
            await answer(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _count(self, path: str, status: int, begun: float) -> None:
        # Unknown paths share one name: their number has no bound.
        self._metrics.requests[path if path in self._known else "other", status] += 1
        if path == "/segment" and status == 200:
            self._metrics.segment.add(time.monotonic() - begun)

    def _check(self, scope: Scope) -> None:
        headers = _single_headers(scope["headers"])
        path: str = scope["path"]
        client = scope["client"][0] if scope.get("client") else ""
        host = headers.get("host", "")
        local = scope["server"][0] if scope.get("server") else None
        if not self._access.knows(host, local):
            raise RequestError(
                421,
                ConfigError(
                    "this server does not answer to that name",
                    fix="start it with --allowed-host NAME",
                ),
            )
        if path not in self._page:
            _require_own_site(headers, host)
        public = path in self._page or path == "/healthz"
        if not public and not self._access.admits(headers.get("authorization")):
            if wait := self._failures.wait(client):
                raise _too_many("wrong tokens", wait)
            raise RequestError(
                401,
                ConfigError(
                    "the token is missing or wrong",
                    fix="open the address that the server printed, or send the header "
                    "Authorization: Bearer TOKEN",
                ),
                {"WWW-Authenticate": "Bearer"},
            )
        if scope["method"] == "POST" and (wait := self._posts.wait(client)):
            raise _too_many("requests", wait)


def _single_headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers that are checked. Raises RequestError if one of them comes twice."""
    checked = {b"host", b"origin", b"sec-fetch-site", b"authorization"}
    found: dict[str, str] = {}
    for key, value in raw:
        if key in checked:
            name = key.decode()
            if name in found:
                raise RequestError(400, ConfigError(f"the header {name} comes twice"))
            found[name] = value.decode("latin-1")
    return found


def _require_own_site(headers: Mapping[str, str], host: str) -> None:
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin")
    # The scheme is left out: behind a proxy it is https there and http here.
    own = origin is None or origin.lower().partition("://")[2] == host.lower()
    if site not in ("same-origin", "none") or not own:
        raise RequestError(403, ConfigError("a page of another site sent this request"))


def _too_many(what: str, wait: float) -> RequestError:
    seconds = str(max(1, round(wait + 0.5)))
    error = ConfigError(f"too many {what}", fix=f"try again in {seconds} s")
    return RequestError(429, error, {"Retry-After": seconds})
