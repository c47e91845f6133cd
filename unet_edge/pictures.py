"""Which files of a folder are pictures, in which order."""

from __future__ import annotations

import re
from pathlib import Path

from unet_edge.errors import DataError
from unet_edge.imaging import SUFFIXES


def list_pictures(path: Path) -> list[Path]:
    """A picture itself, or every picture directly in a folder, in natural order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"no such picture or folder: {path}")
    found = [child for child in path.iterdir() if is_picture(child)]
    if not found:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {path}")
    return sorted(found, key=lambda child: natural(child.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts slice 2 before slice 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def is_picture(path: Path) -> bool:
    """Whether it is a file of a picture's suffix that is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
