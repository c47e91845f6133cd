"""Pictures without masks: a folder of photos, split for the calibration and the proof of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from unet_edge.dataset.annotation_files import find_coco_files
from unet_edge.dataset.foreign import foreign_annotations
from unet_edge.dataset.groups import group_by_look
from unet_edge.dataset.mask_folders import FOLDER_NAMES, find_mask_folders
from unet_edge.dataset.sample import Progress, Sample
from unet_edge.dataset.split import hold_out
from unet_edge.errors import DataError
from unet_edge.images.listing import is_picture, list_pictures
from unet_edge.images.picture_file import opened
from unet_edge.system.counting import counted, first_names

_PROOF_SHARE = 1 / 2
_SEED = 0  # the same folder always gives the same pictures to prove on
_MASK_WORDS = ("mask", "label", "labels", "gt", "seg", "annotation")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "segmentationclass", "annotations")
_INDEX_MODES = ("1", "P")  # of pictures that hold classes; GIF has P too, and is animated
_EXAMINED = 16  # pictures whose mode is read, to bound the time


@dataclass(frozen=True)
class UnlabelledPictures:
    """Pictures without masks: `train` calibrates files, and `validation` proves them.

    `test` is empty, as in a Dataset without test pictures. The `mask` of each Sample is its own
    picture, and is never read. `notes` say how many pictures are used for what.
    """

    root: Path
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    notes: tuple[str, ...] = field(default=())
    test: tuple[Sample, ...] = ()

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """The pictures of each split by its name."""
        return {"train": self.train, "validation": self.validation}


def looks_unlabelled(root: Path) -> bool:
    """Whether a folder holds photos directly, and nothing that may be a mask or an annotation.

    False for every data set that `find_dataset` reads, and for a folder with signs of masks: of
    those, a person decides.
    """
    if not root.is_dir():
        return False
    pictures = [child for child in root.iterdir() if is_picture(child)]
    return bool(pictures) and sign_of_masks(root) is None


def sign_of_masks(root: Path) -> str | None:
    """What suggests that a folder holds masks or annotations, in words; None without any."""
    if find_mask_folders(root) or find_coco_files(root):
        return "it holds masks or annotations in a known layout"
    if masks := _masks_beside(root):
        return f"{masks} beside it may hold its masks"
    if root.name.lower() in _MASK_FOLDERS:
        return "its name is that of a folder of masks"
    if drawing := next(root.glob("*.json"), None):
        return f"{drawing.name} may hold annotations"
    if foreign := foreign_annotations(root):
        return foreign[0]
    for child in sorted(root.iterdir()):
        if child.is_dir() and child.name.lower() in _MASK_FOLDERS:
            return f"the folder {child.name} may hold masks"
    pictures = sorted(child for child in root.iterdir() if is_picture(child))
    by_stem: dict[str, Path] = {}
    for picture in pictures:
        words = picture.stem.lower().replace("-", "_").split("_")
        if words[0] in _MASK_WORDS or words[-1] in _MASK_WORDS:
            return f"{picture.name} may be a mask"
        first = by_stem.setdefault(picture.stem, picture)
        if first is not picture:
            return f"of {first.name} and {picture.name}, one may be a mask"
    for picture in pictures[:: max(1, len(pictures) // _EXAMINED)]:
        if picture.suffix.lower() == ".gif":
            continue
        with opened(picture, load=False) as image:
            if image.mode in _INDEX_MODES:
                return f"{picture.name} is a palette picture, as masks are"
    return None


def _masks_beside(root: Path) -> Path | None:
    """The folder of masks of a data set whose folder of pictures is `root`; None without one."""
    place = root.absolute()
    pairs = ((place.parent / masks, pictures) for pictures, masks in FOLDER_NAMES)
    return next((path for path, name in pairs if place.name == name and path.is_dir()), None)


def find_unlabelled(
    root: Path, progress: Progress = lambda samples, _: samples
) -> UnlabelledPictures:
    """List the photos of a folder or pattern, and split them in two halves by their looks.

    Files of equal bytes count once. Photos that look alike stay in one half, so that no file is
    proven on what calibrated it. The same photos give the same halves.

    Raises DataError without two different photos.
    """
    distinct: dict[bytes, Path] = {}
    repeated: list[Path] = []
    for path in list_pictures(root):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        if distinct.setdefault(digest, path) is not path:
            repeated.append(path)
    base = root if root.is_dir() else root.parent
    samples = [Sample(_name(path, base), path, path) for path in distinct.values()]
    if len(samples) < 2:
        raise DataError(
            f"{root} holds {counted(len(samples), 'different picture')}",
            expected="one calibrates the files and another proves them, so there must be two",
            fix="add pictures",
        )
    groups = group_by_look(samples, progress)
    calibration, proof = hold_out(groups, _PROOF_SHARE, _SEED)
    notes = [
        f"pictures without masks: {len(calibration)} to calibrate, {len(proof)} to prove on; no "
        "mIoU against true labels"
    ]
    if repeated:
        names = first_names([path.name for path in repeated])
        notes.append(f"{counted(len(repeated), 'equal picture')} left out: {names}")
    if len(groups) == 1:
        notes.append("WARNING: all pictures look alike, so the proof says little about others")
    return UnlabelledPictures(
        root,
        tuple(samples[index] for index in calibration),
        tuple(samples[index] for index in proof),
        tuple(notes),
    )


def _name(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
