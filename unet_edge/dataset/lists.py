"""List files: one picture a line, for a split of a data set."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.pairs import Pairs
from unet_edge.dataset.sample import Sample
from unet_edge.errors import DataError
from unet_edge.images.picture_file import SUFFIXES
from unet_edge.system.files import read_regular

_MOST_LIST = 2**26  # bytes of a list: a million paths of 64 bytes


def read_list(path: Path, root: Path, pairs: Pairs) -> list[Sample]:
    """Read the samples that a list names, in its order.

    A line is a picture's path, absolute, below the folder of pictures or below `root`. Its suffix
    may be omitted, and its folders too if the name is unique. A name that is not UTF-8 is written
    as its bytes. A line without a sample adds an error to `pairs.findings`.

    Raises DataError for an unreadable list.
    """
    try:
        data = read_regular(path, _MOST_LIST)
    except OSError as error:
        raise DataError(f"cannot read the list {path}: {error.strerror or error}") from error
    if b"\0" in data:  # no name contains it, and UTF-16 text is full of it
        raise DataError(f"cannot read the list {path}: it is not UTF-8", fix="save it as UTF-8")
    lines = data.decode("utf-8-sig", "surrogateescape").splitlines()  # -sig: Windows Notepad
    index = _Index(pairs, root)
    listed: dict[str, Sample] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        matches, word = index.matches(line), line.split()[0]
        if len(matches) == 1:
            listed[matches[0].name] = matches[0]  # a name listed twice counts once
        elif not matches and _without_suffix(word) in index.bare:
            pairs.findings.append(pairs.without_mask(index.bare[_without_suffix(word)]))
        else:
            pairs.findings.append(_not_found(path, number, word, matches, root, pairs))
    return list(listed.values())


class _Index:
    """Finds the samples that a line of a list may mean."""

    def __init__(self, pairs: Pairs, root: Path) -> None:
        self._by_name = pairs.samples
        self._by_last_part: dict[str, list[Sample]] = {}
        for name, sample in pairs.samples.items():
            self._by_last_part.setdefault(_last_part(name), []).append(sample)
        self._by_path = {
            _without_suffix(str(path)): sample
            for sample in pairs.samples.values()
            for path in (sample.image.absolute(), _below(sample.image, root))
        }
        self.bare = {key: name for name in pairs.bare for key in (_last_part(name), name)}

    def matches(self, line: str) -> list[Sample]:
        """The samples of a line, or of its first word."""
        # The line comes first: names may contain blanks, and dots that start no suffix.
        text, word = line.strip(), line.split()[0]
        for name in (text, _without_suffix(text), word, _without_suffix(word)):
            if name in self._by_name:
                return [self._by_name[name]]
            if name in self._by_path:
                return [self._by_path[name]]
            if samples := self._by_last_part.get(name):
                return samples
        return []


def write_lines(samples: Sequence[Sample]) -> bytes:
    """Write a list of samples; a name that is not UTF-8 is written as its bytes.

    Raises DataError for a name that does not fit on a line.
    """
    lines = [f"{sample.name}{sample.image.suffix}" for sample in samples]
    for line in lines:
        if len(line.splitlines()) != 1 or line != line.strip():
            raise DataError(
                f"the name {line!r} contains a line break, or blanks at an end",
                expected="a list has one name on each line",
                fix="rename the picture",
            )
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def _not_found(
    path: Path, number: int, word: str, matches: Sequence[Sample], root: Path, pairs: Pairs
) -> Finding:
    """The finding for a line that means no picture, or several."""
    count = "no picture is" if not matches else f"{len(matches)} pictures are"
    names = [sample.name for sample in matches] or [*pairs.samples][:1]
    last = _without_suffix(_last_part(word))
    close = [name for name in pairs.samples if _last_part(name) == last]
    close = close or difflib.get_close_matches(last, names, n=1)
    example = (close or names or ["NAME"])[0]
    if example in pairs.samples:
        example += pairs.samples[example].image.suffix
    found = f"line {number}: {count} called {word} in {root}"
    fix = f"write each picture's path below the folder of pictures, or below {root}: {example}"
    return Finding("error", "listed-missing", path, found, fix)


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _without_suffix(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
