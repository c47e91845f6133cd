"""Which files of a folder are pictures, in which order."""

from __future__ import annotations

import os
import re
from pathlib import Path

from unet_edge.errors import DataError
from unet_edge.picture_file import SUFFIXES


def list_pictures(path: Path) -> list[Path]:
    """A picture itself, or every picture directly in a folder, in natural order.

    What is neither and holds `*`, `?` or `[` is a pattern, in which `**` stands for any folders:
    every picture and every folder that fits counts. Raises DataError when there is none.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [child for child in path.iterdir() if is_picture(child)]
        if not found:
            raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {path}")
        return sorted(found, key=lambda child: natural(child.name))
    import glob  # here: `import unet_edge` would pay for it

    if not glob.has_magic(str(path)):
        raise DataError(f"no such picture or folder: {path}")
    # Not Path.glob, which takes no absolute pattern.
    matches = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    folders = [child for match in matches if match.is_dir() for child in match.iterdir()]
    fitting = {child for child in (*matches, *folders) if is_picture(child)}
    if not fitting:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) fit {path}")
    return sorted(fitting, key=lambda child: natural(str(child)))


def place_of(path: Path) -> str:
    """The absolute path of a picture. Links are not followed: two names are two pictures."""
    return os.path.abspath(path)  # noqa: PTH100


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts slice 2 before slice 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def is_picture(path: Path) -> bool:
    """Whether it is a file of a picture's suffix that is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
