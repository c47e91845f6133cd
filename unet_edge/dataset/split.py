"""Which samples are trained on, validated on and tested on: by lists, sub-folders or a draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.groups import Groups, group_by_look
from unet_edge.dataset.lists import read_list
from unet_edge.dataset.pairs import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, Pairs
from unet_edge.dataset.sample import Progress, Sample
from unet_edge.dataset.settings import DataSettings
from unet_edge.system.counting import counted

LIST_FOLDERS = (Path("ImageSets", "Segmentation"), Path())
"""Folders below a data folder in which lists are looked for."""

_VALIDATION_SHARE = 1 / 5


@dataclass(frozen=True)
class Split:
    """The samples of each split, and a note that says how they were chosen."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    note: str


def split_pairs(root: Path, pairs: Pairs, settings: DataSettings, progress: Progress) -> Split:
    """Split the samples by lists, by sub-folders or by a draw.

    Problems are added to `pairs.findings`. Raises DataError for an unreadable list.
    """
    train_list = settings.train_list or existing_list(root, TRAIN_NAMES)
    validation_list = settings.validation_list or existing_list(root, VALIDATION_NAMES)
    test_list = settings.test_list or existing_list(root, TEST_NAMES)
    if train_list is None:  # only a list may leave a picture out
        pairs.findings += [pairs.without_mask(name) for name in pairs.bare]
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
        pairs.findings += _in_both(validation, test, "validation", test_list)
        validation = _without(validation, test)
    else:
        test = _without(test, validation)
    # If sub-folders name the validation pictures, only a list of the settings counts.
    by_folder = named and validation_list is None
    ignored_list = by_folder and not settings.train_list
    if train_list and not ignored_list:
        train = read_list(train_list, root, pairs)
        pairs.findings += _in_both(train, validation, train_list, validation_list)
        pairs.findings += _in_both(train, test, train_list, test_list)
    else:
        train = _in_folder(pairs, TRAIN_NAMES) or list(pairs.samples.values())
    train = _without(_without(train, validation), test)
    if not named:
        train, validation, note = _drawn(train, settings, progress)
    _require_both(root, pairs, train, validation)
    note = f"split: {len(train)} train, {len(validation)} validation ({note})"
    if test:
        note += f"; {counted(len(test), 'test picture')}"
    # A picture that only an ignored train list names is in a list.
    lists = not ignored_list if train_list else validation_list or test_list
    unused = _unused(pairs, [*train, *validation, *test], "list" if lists else "split's folder")
    pairs.findings += unused
    if unused:
        note += f"; {counted(len(unused), 'picture')} in no split, left out"
    return Split(tuple(train), tuple(validation), tuple(test), note)


def hold_out(groups: Groups, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw whole groups with about `share` of all members; return the rest and the drawn members.

    A group is skipped if it has more members than are still wanted. If every group is too large,
    the smallest one is drawn, or the last members of a single group.
    """
    total = sum(map(len, groups))
    wanted = max(1, int(total * share))
    order = np.random.default_rng(seed).permutation(len(groups))
    held_out: list[int] = []
    for place in order:
        if len(held_out) + len(groups[place]) <= wanted:
            held_out += groups[place]
    if not held_out and len(groups) > 1:
        held_out = sorted(groups, key=len)[0]
    elif not held_out and groups:
        # Of the frames of one video, the last ones resemble the fewest others.
        held_out = groups[0][-wanted:]
    drawn = set(held_out)
    members = sorted(index for group in groups for index in group)
    return [index for index in members if index not in drawn], sorted(held_out)


def existing_list(root: Path, names: Sequence[str]) -> Path | None:
    """The first existing list of these names below a data folder."""
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
        groups = group_by_look(pool, progress)
        largest = max(map(len, groups), default=0)
        if largest > 1:
            note += f" from {counted(len(groups), 'group')} of pictures that look alike"
        if len(groups) == 1 and largest > 1:
            note += "; WARNING: all pictures look alike, so the validation means little"
    else:
        groups = [[index] for index in range(len(pool))]
    train, validation = hold_out(groups, _VALIDATION_SHARE, settings.seed)
    return [pool[index] for index in train], [pool[index] for index in validation], note


def _require_both(
    root: Path, pairs: Pairs, train: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    if train and validation:
        return
    found = f"{counted(len(train), 'picture')} to train on and {len(validation)} to validate on"
    fix = "name or add at least one picture for each"
    pairs.findings.append(Finding("error", "split", root, found, fix))


def _unused(pairs: Pairs, used: Sequence[Sample], place: str) -> list[Finding]:
    """Warn of pictures that are in no split; `place` would put them in one."""
    names = {sample.name for sample in used}
    found = f"is in no {place}, and so not used"
    fix = f"add it to a {place}, or remove it"
    draw = f"draw its mask and add it to a {place}, or remove it"
    unused = [
        Finding("warning", "unlisted", sample.image, found, fix)
        for name, sample in pairs.samples.items()
        if name not in names
    ]
    if len(pairs.bare) > len(pairs.samples):
        return unused  # as in PASCAL VOC, where most pictures have no mask on purpose
    reported = {finding.file for finding in pairs.findings if finding.kind == "missing-mask"}
    return unused + [
        Finding("warning", "unlisted", path, f"{pairs.lacks_mask(path)} and {found}", draw)
        for path in pairs.bare.values()
        if path not in reported
    ]


def _in_folder(pairs: Pairs, folders: Sequence[str]) -> list[Sample]:
    """The samples of the first of these sub-folders that has samples."""
    for folder in folders:
        if inside := [s for name, s in pairs.samples.items() if name.startswith(f"{folder}/")]:
            return inside
    return []


def _without(samples: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    names = {sample.name for sample in others}
    return [sample for sample in samples if sample.name not in names]


def _in_both(
    samples: Sequence[Sample],
    others: Sequence[Sample],
    first: Path | str,
    second: Path | None,
) -> list[Finding]:
    """Warn of samples that two splits contain; only the second one counts."""
    names = {sample.name for sample in others}
    here = first.name if isinstance(first, Path) else first
    there = second.name if second else "the held-out pictures"
    found = f"is in both {here} and {there}, and counts for {there} only"
    fix = f"remove it from one of them, or omit {here} to train on all other pictures"
    both = [sample for sample in samples if sample.name in names]
    return [Finding("warning", "listed-in-both", s.image, found, fix) for s in both]
