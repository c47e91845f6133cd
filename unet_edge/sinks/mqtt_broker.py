"""Where an MQTT broker is, and how to log in: from a URL, without the password in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from unet_edge.errors import ConfigError
from unet_edge.system.files import read_regular

PASSWORD_VARIABLE = "UNET_EDGE_MQTT_PASSWORD"
"""The environment variable that holds the password, where no file does."""

PREFIX = "unet-edge"
"""The first level of the topics, where the URL names no other."""

_PORTS = {"mqtt": 1883, "mqtts": 8883}  # as IANA assigns them
_EXAMPLE = "mqtt://broker, or mqtts://user@broker:8883/prefix with TLS"
_MOST_PASSWORD = 65535  # bytes: MQTT 3.1.1, 3.1.3.5, gives its length 16 bits


@dataclass(frozen=True)
class Broker:
    """An MQTT broker: address, login, and the first levels of the topics."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = PREFIX
    ca: Path | None = None
    """A PEM file of the authority that signed the broker's certificate; None: the system's."""

    @classmethod
    def of_url(cls, url: str, *, password: str | None = None, ca: Path | None = None) -> Broker:
        """Parse `mqtt://host`, or `mqtts://user@host:port/prefix` with TLS.

        Raises ConfigError for any other URL, and for a URL that holds a password: other users of
        the machine see command lines. No message quotes the URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number, or half an IPv6 address
            host, port = None, None
        if host and parts.password is not None:
            raise ConfigError(
                "the broker's URL holds a password, which other users of the machine can see",
                fix=f"leave it out, and set the environment variable {PASSWORD_VARIABLE}",
            )
        if not host or parts.scheme not in _PORTS or set(url) & set("?#"):
            raise ConfigError("this is no URL of an MQTT broker", fix=f"write {_EXAMPLE}")
        tls = parts.scheme == "mqtts"
        if ca is not None and not tls:
            raise ConfigError(
                "a certificate authority is given for a connection without TLS",
                fix="write mqtts:// instead of mqtt://",
            )
        user = unquote(parts.username) if parts.username else None
        if password is not None and user is None:
            raise ConfigError(
                "an MQTT password is given without a user",
                fix=f"name the user: {parts.scheme}://USER@{host}",
            )
        prefix = parts.path.strip("/") or PREFIX
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", prefix):
            raise ConfigError(
                f"{prefix!r} is no prefix of topics",
                expected="levels are letters, digits, - _ and ., with / between them",
            )
        return cls(host, port or _PORTS[parts.scheme], tls, user, password, prefix, ca)

    def __str__(self) -> str:
        return f"the MQTT broker {self.host}:{self.port}"


def read_password(file: Path | None) -> str | None:
    """The password: the first line of `file`, else the value of PASSWORD_VARIABLE, else None.

    Raises ConfigError for a file that cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        lines = read_regular(file, _MOST_PASSWORD).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read the password in {file}: {reason}") from None
    if not lines or not lines[0]:
        raise ConfigError(f"{file} is empty", expected="its first line must be the password")
    return lines[0]
