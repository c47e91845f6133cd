"""The files of the page: a fixed set, read once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

_FOLDER = "static"

_NAMES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
}


@dataclass(frozen=True)
class StaticFile:
    """The contents of a file and its media type."""

    content: bytes
    media_type: str


def static_files() -> dict[str, StaticFile]:
    """The page's files by the path of their request; no other path is ever looked up."""
    folder = files(__package__) / _FOLDER
    return {
        path: StaticFile((folder / name).read_bytes(), media_type)
        for path, (name, media_type) in _NAMES.items()
    }
