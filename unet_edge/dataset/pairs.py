"""Pairs: the pictures and masks of a data folder, matched by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.sample import Sample
from unet_edge.images.listing import natural_key

TRAIN_NAMES = ("train",)
VALIDATION_NAMES = ("val", "validation", "valid")
TEST_NAMES = ("test",)
SPLIT_NAMES = (*TRAIN_NAMES, *VALIDATION_NAMES, *TEST_NAMES)
"""Names of the folders and lists of each split, in the order they are looked for."""

_MOST_COMPARED = 50  # names of pictures and of masks, to bound the time


@dataclass
class Pairs:
    """What a data folder holds: samples by name, and pictures without a mask by name.

    Names are paths without suffix; those of a sub-folder start with the folder's. `unpaired` are
    masks without a picture by name. `misnamed` maps the name of a picture without a mask to the
    name of the unpaired mask that may be its own. `polygons` says that the masks are annotations.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    bare: dict[str, Path] = field(default_factory=dict)
    unpaired: dict[str, Path] = field(default_factory=dict)
    misnamed: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    polygons: bool = False
    note: str = ""

    def match(self, pictures: dict[str, Path], masks: dict[str, Path]) -> None:
        """Add pictures and masks of equal names, and the pictures without a mask."""
        bare: dict[str, Path] = {}
        unpaired: dict[str, Path] = {}
        for name in sorted(pictures.keys() | masks.keys(), key=natural_key):
            if name not in pictures:
                unpaired[name] = masks[name]
            elif name in masks:
                self.samples[name] = Sample(name, pictures[name], masks[name])
            else:
                bare[name] = pictures[name]
        own = _likely_pairs(list(bare), list(unpaired))
        picture_of = {mask: picture for picture, mask in own.items()}
        for name, path in unpaired.items():
            file = "file" if self.polygons else "mask"
            rename = ""
            if name in picture_of:
                rename = f" {_renaming(f'the {file}', path, name, picture_of[name])},"
            fix = f"add the picture,{rename} or remove the {file}"
            self.findings.append(Finding("warning", "missing-picture", path, "has no picture", fix))
        self.bare |= bare
        self.unpaired |= unpaired
        self.misnamed |= own

    def lacks_mask(self, picture: Path) -> str:
        """Say which file a picture lacks: its mask, or its labelme file."""
        return f"has no {picture.stem}.json" if self.polygons else "has no mask"

    def without_mask(self, name: str) -> Finding:
        """The finding for a picture that should have a mask."""
        picture = self.bare[name]
        fix = "annotate it with labelme" if self.polygons else "draw one"
        if name in self.misnamed:
            own = self.misnamed[name]
            path = self.unpaired[own]
            fix += f", {_renaming(str(path), path, own, name)} if it belongs to this picture"
        fix += ", or leave the picture out with a train.txt"
        return Finding("error", "missing-mask", picture, self.lacks_mask(picture), fix)


def _likely_pairs(pictures: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    """The mask that may belong to each picture: the only one left, or one of a similar name."""
    if len(pictures) == len(masks) == 1:
        return {pictures[0]: masks[0]}
    if max(len(pictures), len(masks)) > _MOST_COMPARED:
        return {}
    likely: dict[str, str] = {}
    for picture in pictures:
        # Frame 3 and frame 4 have similar names, and are different pictures.
        same = [m for m in masks if _numbers(m) == _numbers(picture) and m not in likely.values()]
        if close := difflib.get_close_matches(picture, same, n=1):
            likely[picture] = close[0]
    return likely


def _renaming(mask: str, path: Path, name: str, picture: str) -> str:
    """What to do with a mask, called `mask`, whose name is to become that of its picture."""
    here, there = PurePosixPath(name), PurePosixPath(picture)
    # What --mask-names adds to a picture's name, such as _mask, stays.
    ending = path.name.removeprefix(here.name) if path.name.startswith(here.name) else path.suffix
    file = path.name if here.name == there.name else f"{there.name}{ending}"
    if here.parent == there.parent:
        return f"rename {mask} to {file}"
    folder = path.parent
    while not there.parent.is_relative_to(here.parent):
        folder, here = folder.parent, here.parent
    folder /= there.parent.relative_to(here.parent)
    return f"move {mask} to {folder}/" if path.name == file else f"move {mask} to {folder / file}"


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", name)]


def files_by_name(
    folder: Path, suffixes: Sequence[str], prefix: str, findings: list[Finding]
) -> dict[str, Path]:
    """Find the files below a folder that have one of `suffixes`, hidden ones left out.

    Names start with `prefix`. Two files of one name add an error to `findings`.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            name = bare_path(Path(prefix, inside))
            if name in files:
                findings.append(name_clash(files[name], path))
            else:
                files[name] = path
    return files


def bare_path(path: Path) -> str:
    """A path without its suffix, with / between folders."""
    return path.as_posix().removesuffix(path.suffix)


def name_clash(first: Path, second: Path) -> Finding:
    """The finding for two files of one name."""
    found = f"two files have the same name: {first} and {second}"
    return Finding("error", "name-clash", second, found, "rename or remove one")
