"""Pairs: the pictures and masks of a data folder, matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.sample import Sample
from unet_edge.images.listing import natural_key

TRAIN_NAMES = ("train",)
VALIDATION_NAMES = ("val", "validation", "valid")
TEST_NAMES = ("test",)
SPLIT_NAMES = (*TRAIN_NAMES, *VALIDATION_NAMES, *TEST_NAMES)
"""Names of the folders and lists of each split, in the order they are looked for."""


@dataclass
class Pairs:
    """What a data folder holds: samples by name, and pictures without a mask by name.

    Names are paths without suffix; those of a sub-folder start with the folder's. `unpaired` are
    the names of masks without a picture. `polygons` says that the masks are annotations.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    bare: dict[str, Path] = field(default_factory=dict)
    unpaired: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    polygons: bool = False
    note: str = ""

    def match(self, pictures: dict[str, Path], masks: dict[str, Path]) -> None:
        """Add pictures and masks of equal names, and the pictures without a mask."""
        for name in sorted(pictures.keys() | masks.keys(), key=natural_key):
            if name not in pictures:
                fix = "add the picture, or remove the mask"
                self.findings.append(
                    Finding("warning", "missing-picture", masks[name], "has no picture", fix)
                )
            elif name in masks:
                self.samples[name] = Sample(name, pictures[name], masks[name])
            else:
                self.bare[name] = pictures[name]


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
