"""The URLs of network streams, and their names, which show no password."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from unet_edge.errors import StreamError

# FFmpeg's protocols that each scheme needs; a stream cannot make FFmpeg use others, such as "file".
PROTOCOLS = {
    "rtsp": "rtsp,rtp,rtcp,srtp,udp,tcp,tls,crypto",
    "rtsps": "rtsp,rtsps,rtp,rtcp,srtp,udp,tcp,tls,crypto",
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "https": "http,https,httpproxy,tcp,tls,crypto",
    "udp": "udp",
    "tcp": "tcp",
    "rtp": "rtp,rtcp,udp",
    "srt": "srt",
}

_FILES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"}


def scheme_of(url: str) -> str:
    """The scheme of a URL, in small letters; "" for anything else."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    return match[1].lower() if match else ""


def shown(url: str) -> str:
    """A URL for people, without the name, password and query, which may be secret."""
    scheme, mark, rest = url.partition("://")
    # What is before the last @ goes first, since a password may hold any character.
    before, at, rest = rest.rpartition("@")
    if at and ("?" in before or "/" in before):  # the @ may be of the query, after a secret
        return f"{scheme}{mark}…"
    address, question, _ = rest.partition("#")[0].partition("?")
    host, _, path = address.partition("/")
    if "=" in path:  # some cameras take /user=me&password=secret
        address = f"{host}/…"
    return scheme + mark + address + ("?…" if question else "")


def names_file(url: str) -> bool:
    """Whether a URL names a video file on a web server, which ends, instead of a live stream."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address: opening it says so
        return False
    return parts.scheme in ("http", "https") and PurePosixPath(parts.path).suffix.lower() in _FILES


def require_known_scheme(url: str) -> str:
    """The scheme of a URL. Raises StreamError unless it is one of network streams."""
    scheme = scheme_of(url)
    if scheme not in PROTOCOLS:
        raise StreamError(
            f"{shown(url)} is no network stream that can be read",
            expected=f"its scheme must be one of {', '.join(PROTOCOLS)}",
        )
    return scheme
