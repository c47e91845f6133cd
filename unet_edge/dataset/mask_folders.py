"""Mask folders: a folder of pictures beside a folder of masks, also below split folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet_edge.dataset.mask_names import picture_name, suggest
from unet_edge.dataset.pairs import SPLIT_NAMES, Pairs, files_by_name
from unet_edge.errors import DataError
from unet_edge.images.picture_file import SUFFIXES
from unet_edge.system.counting import counted, first_names

# (pictures, masks) folder names, in the order they are looked for: the tutorial's, the plain
# pair, and PASCAL VOC's.
FOLDER_NAMES = (("Images", "Labels"), ("images", "masks"), ("JPEGImages", "SegmentationClass"))


@dataclass(frozen=True)
class MaskFolder:
    """A folder of pictures and their folder of masks; names of samples start with `prefix`."""

    prefix: str
    pictures: Path
    masks: Path


def find_mask_folders(root: Path) -> list[MaskFolder]:
    """Find the pair of folders in the root, or else one in each of its split folders."""
    if folder := _mask_folder(root, ""):
        return [folder]
    splits = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    return [folder for name in splits if (folder := _mask_folder(root / name, name))]


def _mask_folder(parent: Path, prefix: str) -> MaskFolder | None:
    # Compared with the real names: on a case-insensitive disk Images/ would also be images/.
    names = {child.name for child in parent.iterdir() if child.is_dir()}
    for pictures, masks in FOLDER_NAMES:
        if pictures in names and masks in names:
            return MaskFolder(prefix, parent / pictures, parent / masks)
    return None


def pairs_of_mask_folders(
    root: Path, folders: Sequence[MaskFolder], mask_names: str | None
) -> Pairs:
    """Match the pictures and masks of all folders.

    `mask_names` is a pattern for `picture_name`; without it, a mask has its picture's name.
    Raises DataError when no picture has a mask.
    """
    first = folders[0]
    inside = f"{', '.join(folder.prefix for folder in folders)}: " if first.prefix else ""
    pairs = Pairs(note=f"layout: {inside}{first.pictures.name}/ with {first.masks.name}/ in {root}")
    for folder in folders:
        pictures = files_by_name(folder.pictures, SUFFIXES, folder.prefix, pairs.findings)
        masks = files_by_name(folder.masks, SUFFIXES, folder.prefix, pairs.findings)
        if mask_names:
            masks = {picture_name(mask_names, name) or name: path for name, path in masks.items()}
        pairs.match(pictures, masks)
    if pairs.bare and not pairs.samples:
        raise _no_masks(pairs, first.masks)
    return pairs


def _no_masks(pairs: Pairs, masks: Path) -> DataError:
    """The error where no picture has a mask: the names of both, and how they may be matched."""
    pictures, unpaired = list(pairs.bare), list(pairs.unpaired)
    if not unpaired:
        return DataError(
            f"{masks} holds no masks ({', '.join(SUFFIXES)}) for the "
            f"{counted(len(pictures), 'picture')} ({first_names(pictures)})",
            fix="save a mask with each picture's name there",
        )
    return DataError(
        f"no mask has its picture's name: pictures are called {first_names(pictures)}, masks "
        f"{first_names(unpaired)}",
        fix=suggest(pictures, unpaired),
    )
