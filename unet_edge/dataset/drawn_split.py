"""A split drawn at random from a data folder, and the lists it is written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_edge.dataset.findings import raise_errors
from unet_edge.dataset.groups import Groups, group_by_look, merge_groups, name_links
from unet_edge.dataset.layouts import find_pairs
from unet_edge.dataset.lists import write_lines
from unet_edge.dataset.missing_layout import require_data_folder
from unet_edge.dataset.pairs import Pairs
from unet_edge.dataset.sample import Progress, Sample
from unet_edge.dataset.settings import DataSettings
from unet_edge.dataset.split import LIST_FOLDERS, hold_out
from unet_edge.errors import ConfigError, DataError
from unet_edge.system.counting import counted, first_names
from unet_edge.system.files import write_atomically

_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}


@dataclass(frozen=True)
class DrawnSplit:
    """The samples of each split, and the number of its groups of pictures, by its name.

    `note` names the pictures without a mask, which are in no split; empty without any.
    """

    parts: dict[str, tuple[Sample, ...]]
    groups: dict[str, int]
    note: str = ""

    def write(self, folder: Path, *, overwrite: bool) -> list[Path]:
        """Write a list for each split. Raises ConfigError where a list exists."""
        lists = {folder / _LISTS[name]: write_lines(part) for name, part in self.parts.items()}
        existing = [folder / name for name in _LISTS.values() if (folder / name).exists()]
        if existing and not overwrite:
            raise ConfigError(
                f"{existing[0]} already exists",
                fix="pass --overwrite, or another folder with --output",
            )
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in lists.items():
            write_atomically(path, text)
        for path in set(existing) - lists.keys():  # an earlier split's test list would still count
            path.unlink()
        return list(lists)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            name: {"pictures": [sample.name for sample in part], "groups": self.groups[name]}
            for name, part in self.parts.items()
        }


def draw_split(
    root: Path,
    *,
    classes: Sequence[str],
    shares: tuple[float, float],
    group_by: str | None,
    seed: int,
    settings: DataSettings,
    progress: Progress = lambda samples, _: samples,
) -> DrawnSplit:
    """Draw validation and test pictures of a folder in whole groups.

    `shares` are the shares of all pictures to draw for validation and test. A group holds pictures
    that look alike and, with `group_by`, pictures whose names have the same match of that regular
    expression. Raises ConfigError for shares that leave nothing, DataError for an empty split.
    """
    if sum(shares) >= 1:
        raise ConfigError(
            f"validation {shares[0]:g} and test {shares[1]:g} leave nothing to train on",
            expected="their sum must be below 1",
        )
    require_data_folder(root)
    pairs = find_pairs(root, tuple(classes), settings)
    raise_errors(pairs.findings)
    samples = list(pairs.samples.values())
    groups = group_by_look(samples, progress)
    if group_by:
        groups = merge_groups(groups, name_links(samples, group_by))
    drawn: dict[str, list[int]] = {}
    train = list(range(len(samples)))
    for name, share in (("test", shares[1]), ("validation", shares[0])):
        if share:
            remaining = set(train)
            candidates = [group for group in groups if group[0] in remaining]
            share_of_rest = share * len(samples) / max(1, len(train))
            train, drawn[name] = _hold_out(candidates, share_of_rest, seed)
    parts = {"train": train, "validation": drawn["validation"]}
    parts |= {"test": drawn["test"]} if "test" in drawn else {}
    empty = [name for name, part in parts.items() if not part]
    if empty:
        raise DataError(
            f"{counted(len(samples), 'picture')} in {counted(len(groups), 'group')} leave none "
            f"for {empty[0]}",
            fix="add pictures, or choose other shares",
        )
    members = {name: set(part) for name, part in parts.items()}
    return DrawnSplit(
        {name: tuple(samples[index] for index in part) for name, part in parts.items()},
        {name: sum(group[0] in part for group in groups) for name, part in members.items()},
        _left_out(pairs),
    )


def _left_out(pairs: Pairs) -> str:
    if not pairs.bare:
        return ""
    names = [f"{name}{path.suffix}" for name, path in pairs.bare.items()]
    lacking = "has" if len(names) == 1 else "have"
    lacking += " no labelme file" if pairs.polygons else " no mask"
    return f"{counted(len(names), 'picture')} left out: {first_names(names)} {lacking}"


def list_folder(root: Path) -> Path:
    """The first folder in which a data folder's lists are looked for."""
    return next((root / folder for folder in LIST_FOLDERS if (root / folder).is_dir()), root)


def _hold_out(groups: Groups, share: float, seed: int) -> tuple[list[int], list[int]]:
    if len(groups) < 2:  # a group is never divided; the caller reports the empty split
        return [index for group in groups for index in group], []
    return hold_out(groups, share, seed)
