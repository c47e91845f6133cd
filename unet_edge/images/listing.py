"""Which files of a folder are pictures, in which order."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from unet_edge.errors import DataError
from unet_edge.images.picture_file import SUFFIXES


def list_pictures(path: Path) -> list[Path]:
    """A picture itself, or every picture directly in a folder, in natural order.

    What is neither and holds `*`, `?` or `[` is a pattern, in which `**` stands for any folders:
    every picture and every folder that fits counts. A folder that is reached in several ways, as
    through links, counts once. Raises DataError when there is none.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [child for child in path.iterdir() if is_picture(child)]
        if not found:
            if any(is_picture(child) for folder in _folders([path]) for child in folder.iterdir()):
                raise DataError(
                    f"no pictures directly in {path}, but in its sub-folders",
                    fix=f"name them with '{path}/**/*'",
                )
            raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {path}")
        return sorted(found, key=lambda child: natural(child.name))
    import glob  # here: `import unet_edge` would pay for it

    if not glob.has_magic(str(path)):
        raise DataError(f"no such picture or folder: {path}")
    matches = _matches(str(path))
    folders = [child for match in matches if match.is_dir() for child in match.iterdir()]
    named = {child for child in (*matches, *folders) if is_picture(child)}
    fitting = distinct(sorted(named, key=lambda child: (len(child.parts), child)))
    if not fitting:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) fit {path}")
    return sorted(fitting, key=lambda child: natural(str(child)))


def distinct(pictures: Iterable[Path]) -> list[Path]:
    """The pictures without those that are another again, under the same name in the same folder.

    Links to pictures are not followed, those to folders are: two names are two pictures.
    """
    folders: dict[Path, str] = {}
    places: dict[tuple[str, str], Path] = {}
    for picture in pictures:
        if picture.parent not in folders:
            folders[picture.parent] = os.path.realpath(picture.parent)
        places.setdefault((folders[picture.parent], picture.name), picture)
    return list(places.values())


def _matches(pattern: str) -> list[Path]:
    """What fits a pattern; `**` enters each folder once, by its own path before any link to it.

    Not by glob alone, which follows a link to a folder above it until names are too long.
    """
    import glob

    parts = Path(pattern).parts
    if "**" not in parts:
        return [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207 - also absolute ones
    at = parts.index("**")
    above = str(Path(*parts[:at])) if at else "."
    bases = [Path(name) for name in glob.glob(above)] if at else [Path()]  # noqa: PTH207
    below = str(Path(*(parts[at + 1 :] or ("*",))))
    found: list[Path] = []
    for folder in _folders(bases):
        found += _matches(os.path.join(glob.escape(str(folder)), below))  # noqa: PTH118
    return found


def _folders(bases: Sequence[Path]) -> Iterator[Path]:
    """Folders with those in them, hidden ones apart, each once; those behind links last."""
    seen: set[tuple[int, int]] = set()
    waiting = deque(path for path in bases if path.is_dir())
    links: deque[Path] = deque()
    while waiting or links:
        folder = (waiting or links).popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            children = sorted(folder.iterdir())
        except OSError:  # not ours to read, or gone: as glob has it
            continue
        yield folder
        for child in children:
            if not child.name.startswith(".") and child.is_dir():
                (links if child.is_symlink() else waiting).append(child)


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
