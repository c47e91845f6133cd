"""Which samples are trained on and which are held out: lists, sub-folders, or a seeded draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.layouts import TRAIN_NAMES, VALIDATION_NAMES, Pairs
from unet_edge.dataset.sample import Sample
from unet_edge.errors import DataError
from unet_edge.picture_file import SUFFIXES


def split_pairs(
    root: Path, pairs: Pairs, train_list: Path | None, validation_list: Path | None, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...], str]:
    """Training samples, validation samples, and a note that says where the split is from.

    What is wrong with it goes to `pairs.findings`. Raises DataError for an unreadable list.
    """
    given = train_list
    if train_list is None:
        train_list = _existing_list(root, TRAIN_NAMES)
    if validation_list is None:
        validation_list = _existing_list(root, VALIDATION_NAMES)
    if train_list is None:  # a list may leave pictures out; without one, none may
        pairs.findings += [_without_mask(path) for path in pairs.bare.values()]
    everything = list(pairs.samples.values())
    if validation_list is not None:
        validation = _listed(validation_list, pairs)
        train = _listed(train_list, pairs) if train_list else everything
        if train_list is not None:
            pairs.findings += _in_both(train, validation, train_list, validation_list)
        note = f"validation from {validation_list.name}"
    elif validation := _in_folder(pairs.samples, VALIDATION_NAMES):
        train = _listed(given, pairs) if given else _in_folder(pairs.samples, TRAIN_NAMES)
        note = "from the sub-folders"
    else:
        pool = _listed(train_list, pairs) if train_list else everything
        order = np.random.default_rng(seed).permutation(len(pool))
        held = max(1, len(pool) // 5)
        validation = [pool[i] for i in sorted(order[:held])]
        train = [pool[i] for i in sorted(order[held:])]
        note = f"no validation list found, a fifth drawn with seed {seed}"
    held_out = {sample.name for sample in validation}
    train = [sample for sample in train if sample.name not in held_out]
    if not train or not validation:
        found = f"{len(train)} pictures to train on and {len(validation)} to validate on"
        mend = "both need at least one"
        pairs.findings.append(Finding("error", "split", root, found, mend))
    note = f"split: {len(train)} train, {len(validation)} validation ({note})"
    return tuple(train), tuple(validation), note


def _in_folder(samples: dict[str, Sample], folders: Sequence[str]) -> list[Sample]:
    """The samples of the first of these sub-folders that has any."""
    for folder in folders:
        if found := [s for name, s in samples.items() if name.startswith(f"{folder}/")]:
            return found
    return []


def _existing_list(root: Path, names: Sequence[str]) -> Path | None:
    for folder in (root / "ImageSets" / "Segmentation", root):
        for name in names:
            if (folder / f"{name}.txt").is_file():
                return folder / f"{name}.txt"
    return None


def _listed(path: Path, pairs: Pairs) -> list[Sample]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # -sig: Windows Notepad
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}: {error}") from error
    # A list may leave out the sub-folder, as long as that leaves no doubt.
    by_last: dict[str, list[Sample]] = {}
    for name, sample in pairs.samples.items():
        by_last.setdefault(name.rsplit("/", 1)[-1], []).append(sample)
    bare = {key: path for n, path in pairs.bare.items() for key in (n.rsplit("/", 1)[-1], n)}
    found: dict[str, Sample] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word = line.split()[0]
        # The line as it stands comes first: names may hold blanks, and dots that are no suffix.
        matches: list[Sample] = []
        for name in (line.strip(), _bare_name(line.strip()), word, _bare_name(word)):
            if matches := [pairs.samples[name]] if name in pairs.samples else by_last.get(name, []):
                break
        if len(matches) == 1:
            found[matches[0].name] = matches[0]  # a name listed twice counts once
        elif not matches and _bare_name(word) in bare:
            pairs.findings.append(_without_mask(bare[_bare_name(word)]))
        else:
            which = "no picture is" if not matches else f"{len(matches)} pictures are"
            wrong, mend = f"line {number}: {which} called {word}", "write each picture's path"
            pairs.findings.append(Finding("error", "listed-missing", path, wrong, mend))
    return list(found.values())


def _in_both(
    train: Sequence[Sample], validation: Sequence[Sample], train_list: Path, validation_list: Path
) -> list[Finding]:
    held_out = {sample.name for sample in validation}
    found = f"is in both {train_list.name} and {validation_list.name}, and so not trained on"
    mend = f"remove it from one, or leave out {train_list.name} to train on the rest"
    both = [sample for sample in train if sample.name in held_out]
    return [Finding("warning", "listed-in-both", s.image, found, mend) for s in both]


def _without_mask(picture: Path) -> Finding:
    mend = "draw one, or leave the picture out with a train.txt"
    return Finding("error", "missing-mask", picture, "has no mask", mend)


def _bare_name(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
