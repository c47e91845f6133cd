"""The pictures of a folder or a pattern, in natural order."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from unet_edge.errors import DataError
from unet_edge.images.picture_file import SUFFIXES


def list_pictures(path: Path) -> list[Path]:
    """List a picture itself, or every picture directly in a folder, in natural order.

    A path that does not exist and holds `*`, `?` or `[` is a pattern, in which `**` stands for any
    number of folders. A pattern gives the pictures it matches, and those in the folders it
    matches. A folder that links reach in several ways counts once. Raises DataError without any
    picture.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        pictures = [child for child in path.iterdir() if is_picture(child)]
        if not pictures:
            if any(is_picture(child) for folder in _folders([path]) for child in folder.iterdir()):
                raise DataError(
                    f"no pictures directly in {path}, only in its sub-folders",
                    fix=f"give the pattern '{path}/**/*'",
                )
            raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {path}")
        return sorted(pictures, key=lambda child: natural_key(child.name))
    import glob  # here, to keep `import unet_edge` fast

    if not glob.has_magic(str(path)):
        raise DataError(f"no such picture or folder: {path}")
    matches = _matches(str(path))
    folders = [child for match in matches if match.is_dir() for child in match.iterdir()]
    matching = {child for child in (*matches, *folders) if is_picture(child)}
    pictures = distinct(sorted(matching, key=lambda child: (len(child.parts), child)))
    if not pictures:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) match {path}")
    return sorted(pictures, key=lambda child: natural_key(str(child)))


def distinct(pictures: Iterable[Path]) -> list[Path]:
    """Drop pictures that have the same name in the same folder as an earlier one.

    Links to folders are followed; links to pictures are not: two names are two pictures.
    """
    real_folders: dict[Path, str] = {}
    first: dict[tuple[str, str], Path] = {}
    for picture in pictures:
        if picture.parent not in real_folders:
            real_folders[picture.parent] = os.path.realpath(picture.parent)
        first.setdefault((real_folders[picture.parent], picture.name), picture)
    return list(first.values())


def _matches(pattern: str) -> list[Path]:
    """List what matches a pattern; `**` enters each folder once, by its own path before a link."""
    # Not by glob alone, which follows a link to a folder above it until names are too long.
    import glob

    parts = Path(pattern).parts
    if "**" not in parts:
        return [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207 - also absolute ones
    index = parts.index("**")
    above = str(Path(*parts[:index])) if index else "."
    # As above: Path.glob takes no absolute pattern.
    bases = [Path(name) for name in glob.glob(above)] if index else [Path()]  # noqa: PTH207
    below = str(Path(*(parts[index + 1 :] or ("*",))))
    matches: list[Path] = []
    for folder in _folders(bases):
        matches += _matches(str(Path(glob.escape(str(folder)), below)))
    return matches


def _folders(bases: Sequence[Path]) -> Iterator[Path]:
    """Yield folders and the folders in them, each once, linked ones last; without hidden ones."""
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
        except OSError:  # no permission, or deleted meanwhile: left out, as by glob
            continue
        yield folder
        for child in children:
            if not child.name.startswith(".") and child.is_dir():
                (links if child.is_symlink() else waiting).append(child)


def absolute_path(path: Path) -> str:
    """The absolute path of a picture. Links are not followed: two names are two pictures."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve follows links


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key of the natural order, in which slice 2 comes before slice 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def is_picture(path: Path) -> bool:
    """Whether a path is a file with the suffix of a picture, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
