"""Which samples train, validate and test: lists, sub-folders, or a seeded draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.groups import Groups, alike
from unet_edge.dataset.layouts import (
    TEST_NAMES,
    TRAIN_NAMES,
    VALIDATION_NAMES,
    Pairs,
)
from unet_edge.dataset.lists import read_list, without_mask
from unet_edge.dataset.sample import Progress, Sample
from unet_edge.dataset.settings import DataSettings

LIST_FOLDERS = (Path("ImageSets", "Segmentation"), Path())
"""Where lists are looked for below a data folder."""

_HELD_OUT = 5  # one picture in so many is drawn for validation


@dataclass(frozen=True)
class Split:
    """The samples of each split, and where the split is from."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    note: str


def split_pairs(root: Path, pairs: Pairs, settings: DataSettings, progress: Progress) -> Split:
    """Split what was found, by lists, by sub-folders or by a draw.

    What is wrong goes to `pairs.findings`. Raises DataError for an unreadable list.
    """
    train_list = settings.train_list or existing_list(root, TRAIN_NAMES)
    validation_list = settings.validation_list or existing_list(root, VALIDATION_NAMES)
    test_list = settings.test_list or existing_list(root, TEST_NAMES)
    if train_list is None:  # a list may leave pictures out; without one, none may
        pairs.findings += [without_mask(path) for path in pairs.bare.values()]
    test = read_list(test_list, root, pairs) if test_list else _in_folder(pairs, TEST_NAMES)
    validation: Sequence[Sample] = ()
    named = True
    if validation_list is not None:
        validation = read_list(validation_list, root, pairs)
        note = f"validation from {validation_list.name}"
    elif validation := _in_folder(pairs, VALIDATION_NAMES):
        note = "from the sub-folders"
    else:
        named = False
    if settings.test_list:
        pairs.findings += _in_both(validation, test, "validation", test_list, "validated on")
        validation = _without(validation, test)
    else:  # what a person named for validation is that
        test = _without(test, validation)
    # Where sub-folders name the validation pictures, only a list given by hand counts.
    by_folder = named and validation_list is None
    if train_list and (settings.train_list or not by_folder):
        train = read_list(train_list, root, pairs)
        pairs.findings += _in_both(train, validation, train_list, validation_list, "trained on")
        pairs.findings += _in_both(train, test, train_list, test_list, "trained on")
    else:
        train = _in_folder(pairs, TRAIN_NAMES) or list(pairs.samples.values())
    train = _without(_without(train, validation), test)
    if not named:
        train, validation, note = _drawn(train, settings, progress)
    _require_both(root, pairs, train, validation)
    note = f"split: {len(train)} train, {len(validation)} validation ({note})"
    if test:
        note += f"; {len(test)} test pictures, never trained on: evaluate --split test scores them"
    if left := len(pairs.samples) - len(train) - len(validation) - len(test):
        note += f"; {left} pictures are in no split and left out"
    return Split(tuple(train), tuple(validation), tuple(test), note)


def draw(groups: Groups, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw whole groups, about `share` of their members: what is left and what is held out.

    Groups that are larger than what is still to be drawn are left. Where nothing else can be
    held out, that is the smallest group, or of one group its last members: of the frames of one
    video, the last ones resemble the fewest others.
    """
    total = sum(map(len, groups))
    wanted = max(1, int(total * share))
    order = np.random.default_rng(seed).permutation(len(groups))
    held: list[int] = []
    for place in order:
        if len(held) + len(groups[place]) <= wanted:
            held += groups[place]
    if not held and len(groups) > 1:
        held = sorted(groups, key=len)[0]
    elif not held and groups:
        held = groups[0][-wanted:]
    drawn = set(held)
    members = sorted(index for group in groups for index in group)
    return [index for index in members if index not in drawn], sorted(held)


def existing_list(root: Path, names: Sequence[str]) -> Path | None:
    """The first list of these names below a data folder."""
    for folder in LIST_FOLDERS:
        for name in names:
            if (path := root / folder / f"{name}.txt").is_file():
                return path
    return None


def _drawn(
    pool: Sequence[Sample], settings: DataSettings, progress: Progress
) -> tuple[list[Sample], list[Sample], str]:
    note = f"no validation list found, a fifth drawn with seed {settings.seed}"
    if settings.split_by == "groups":
        groups = alike(pool, progress)
        largest = max(map(len, groups), default=0)
        if largest > 1:
            note += f" by groups, pictures that look alike together: {len(groups)} groups"
        if len(groups) == 1 and largest > 1:
            note += "; WARNING: all pictures look alike, so validation cannot tell much"
    else:
        groups = [[index] for index in range(len(pool))]
    rest, held = draw(groups, 1 / _HELD_OUT, settings.seed)
    return [pool[index] for index in rest], [pool[index] for index in held], note


def _require_both(
    root: Path, pairs: Pairs, train: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    if train and validation:
        return
    found = f"{len(train)} pictures to train on and {len(validation)} to validate on"
    fix = "both need at least one"
    pairs.findings.append(Finding("error", "split", root, found, fix))


def _in_folder(pairs: Pairs, folders: Sequence[str]) -> list[Sample]:
    """The samples of the first of these sub-folders that has any."""
    for folder in folders:
        if found := [s for name, s in pairs.samples.items() if name.startswith(f"{folder}/")]:
            return found
    return []


def _without(samples: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    names = {sample.name for sample in others}
    return [sample for sample in samples if sample.name not in names]


def _in_both(
    samples: Sequence[Sample],
    others: Sequence[Sample],
    first: Path | str | None,
    second: Path | None,
    used: str,
) -> list[Finding]:
    names = {sample.name for sample in others}
    here = first.name if isinstance(first, Path) else first
    there = second.name if second else "the held-out pictures"
    found = f"is in both {here} and {there}, and so not {used}"
    fix = f"remove it from one, or leave out {here} to train on the rest"
    both = [sample for sample in samples if sample.name in names]
    return [Finding("warning", "listed-in-both", s.image, found, fix) for s in both]
