"""What the files of a segmented photo are called."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# What segment adds to a photo's name at most, `.probability-255.png`, and a number behind it.
_ADDED = len(".probability-255.png") + len("-99999")


def result_names(
    pictures: Sequence[Path],
    known: Sequence[str | None],
    free: Callable[[str, Path], bool],
    folder: Path,
) -> list[str]:
    """A name for each picture: the `known` one, else its stem, else one that nothing has.

    `free` says whether a name can be given to a picture. `folder` is where the files go: names
    that would be too long there are shortened.
    """
    stems = Counter(picture.stem for picture in pictures)
    most = _longest(folder)
    taken = {name for name in known if name is not None}
    names: list[str] = []
    for picture, old in zip(pictures, known, strict=True):
        name = old or next(
            candidate
            for candidate in _candidates(picture, most, alone=stems[picture.stem] == 1)
            if candidate not in taken and free(candidate, picture)
        )
        taken.add(name)
        names.append(name)
    return names


def _candidates(picture: Path, most: int, *, alone: bool) -> Iterator[str]:
    """Endless."""
    if alone:
        yield _shortened(picture.stem, most)
    name = _shortened(picture.name, most)
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _shortened(name: str, most: int) -> str:
    """The name itself, or its beginning and eight digits of a digest where it is too long."""
    whole = os.fsencode(name)
    if len(whole) <= most:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:8]
    return f"{whole[: most - 9].decode(errors='ignore')}-{digest}"


def _longest(folder: Path) -> int:
    """How many bytes of a file's name are left for a photo's."""
    try:
        most = os.pathconf(folder, "PC_NAME_MAX")  # 143 under eCryptfs
    except (OSError, ValueError):
        most = 255
    return most - _ADDED
