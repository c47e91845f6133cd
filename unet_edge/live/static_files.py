"""The files of the page: a fixed set, read once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_FOLDER = "static"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
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
        "/" if file.name == "index.html" else f"/{file.name}": StaticFile(
            file.read_bytes(), _TYPES[Path(file.name).suffix]
        )
        for file in folder.iterdir()
    }
