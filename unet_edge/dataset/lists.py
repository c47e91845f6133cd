"""List files: one picture a line, as data sets, train and data split name them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.layouts import Pairs
from unet_edge.dataset.sample import Sample
from unet_edge.errors import DataError
from unet_edge.images.picture_file import SUFFIXES
from unet_edge.system.files import read_regular

_MOST_LIST = 2**26
"""Bytes of a list that is read: a million paths of 64 bytes."""


def read_list(path: Path, root: Path, pairs: Pairs) -> list[Sample]:
    """The samples that a list names, in its order.

    A line is a picture's path: below the folder of pictures, below `root`, or absolute; with or
    without suffix, and without its folders where that leaves no doubt. A name that is not UTF-8
    stands there by its bytes. What cannot be found goes to `pairs.findings`.

    Raises DataError for an unreadable list.
    """
    try:
        data = read_regular(path, _MOST_LIST)
    except OSError as error:
        raise DataError(f"cannot read the list {path}: {error.strerror or error}") from error
    if b"\0" in data:  # which no name has, and UTF-16 has everywhere
        raise DataError(
            f"cannot read the list {path}: it is no text",
            fix="save it as UTF-8",
        )
    lines = data.decode("utf-8-sig", "surrogateescape").splitlines()  # -sig: Windows Notepad
    by_last: dict[str, list[Sample]] = {}
    for name, sample in pairs.samples.items():
        by_last.setdefault(name.rsplit("/", 1)[-1], []).append(sample)
    by_path = {
        _bare_name(str(place)): sample
        for sample in pairs.samples.values()
        for place in (sample.image.absolute(), _below(sample.image, root))
    }
    bare = {key: path for n, path in pairs.bare.items() for key in (n.rsplit("/", 1)[-1], n)}
    found: dict[str, Sample] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word = line.split()[0]
        # The line as it stands comes first: names may hold blanks, and dots that are no suffix.
        matches: list[Sample] = []
        for name in (line.strip(), _bare_name(line.strip()), word, _bare_name(word)):
            if name in pairs.samples:
                matches = [pairs.samples[name]]
            elif name in by_path:
                matches = [by_path[name]]
            else:
                matches = by_last.get(name, [])
            if matches:
                break
        if len(matches) == 1:
            found[matches[0].name] = matches[0]  # a name listed twice counts once
        elif not matches and _bare_name(word) in bare:
            pairs.findings.append(without_mask(bare[_bare_name(word)]))
        else:
            pairs.findings.append(_not_found(path, number, word, matches, root, pairs))
    return list(found.values())


def write_lines(samples: Sequence[Sample]) -> bytes:
    """A list of samples, names that are not UTF-8 by their bytes.

    Raises DataError for a name that no line can hold.
    """
    lines = [f"{sample.name}{sample.image.suffix}" for sample in samples]
    for line in lines:
        if len(line.splitlines()) != 1 or line != line.strip():
            raise DataError(
                f"the name {line!r} cannot stand in a list",
                fix="rename the picture",
            )
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def without_mask(picture: Path) -> Finding:
    """A picture that has no mask, and should have one."""
    fix = "draw one, or leave the picture out with a train.txt"
    return Finding("error", "missing-mask", picture, "has no mask", fix)


def _not_found(
    path: Path, number: int, word: str, matches: Sequence[Sample], root: Path, pairs: Pairs
) -> Finding:
    which = "no picture is" if not matches else f"{len(matches)} pictures are"
    names = [sample.name for sample in matches] or [*pairs.samples][:1]
    last = _bare_name(word.rsplit("/", 1)[-1])
    close = [name for name in pairs.samples if name.rsplit("/", 1)[-1] == last]
    close = close or difflib.get_close_matches(last, names, n=1)
    example = (close or names or ["NAME"])[0]
    if example in pairs.samples:
        example += pairs.samples[example].image.suffix
    found = f"line {number}: {which} called {word} in {root}"
    fix = f"write each picture's path below the folder of pictures, or below {root}: {example}"
    return Finding("error", "listed-missing", path, found, fix)


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _bare_name(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
