"""Names for the files of segmented photos."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unet_edge.images.picture_file import shown_name, stem_of

# The longest suffix that segment adds to a photo's name, with a number.
_ADDED = len(".probability-255.png") + len("-99999")


def result_names(
    pictures: Sequence[Path],
    known: Sequence[str | None],
    free: Callable[[str, Path], bool],
    folder: Path,
) -> list[str]:
    """A name for each picture: its `known` name, else its stem, else its file name.

    A file name that is taken gets a number. `free` tells whether a picture can take a name. Names
    that are too long for files in `folder` are shortened.
    """
    stems = Counter(stem_of(picture) for picture in pictures)
    limit = _name_limit(folder)
    taken = {name for name in known if name is not None}
    names: list[str] = []
    for picture, old in zip(pictures, known, strict=True):
        name = old or next(
            candidate
            for candidate in _candidates(picture, limit, unique=stems[stem_of(picture)] == 1)
            if candidate not in taken and free(candidate, picture)
        )
        taken.add(name)
        names.append(name)
    return names


def _candidates(picture: Path, limit: int, *, unique: bool) -> Iterator[str]:
    """An endless series of names; the stem comes first if it is `unique`."""
    if unique:
        yield _shortened(stem_of(picture), limit)
    name = _shortened(shown_name(picture).replace("/", "-"), limit)  # scan.tif-0001 for a page
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _shortened(name: str, limit: int) -> str:
    """The name, or if it has more than `limit` bytes, its beginning with digits of a digest."""
    encoded = os.fsencode(name)
    if len(encoded) <= limit:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: limit - 9].decode(errors='ignore')}-{digest}"


def _name_limit(folder: Path) -> int:
    """The most bytes of a photo's name, so that its files can have their suffixes."""
    try:
        limit = os.pathconf(folder, "PC_NAME_MAX")  # 143 under eCryptfs
    except (OSError, ValueError):
        limit = 255
    return limit - _ADDED
