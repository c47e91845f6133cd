"""Where pictures and their masks lie: mask folders, a COCO file, or labelme files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unet_edge.dataset.coco import CocoFile
from unet_edge.dataset.findings import Finding
from unet_edge.dataset.foreign import foreign_annotations
from unet_edge.dataset.labelme import drawn_names
from unet_edge.dataset.mask_names import picture_name, suggest
from unet_edge.dataset.sample import Sample
from unet_edge.dataset.settings import Crowds, DataSettings
from unet_edge.errors import DataError
from unet_edge.images.listing import natural
from unet_edge.images.picture_file import SUFFIXES

TRAIN_NAMES = ("train",)
VALIDATION_NAMES = ("val", "validation", "valid")
TEST_NAMES = ("test",)
SPLIT_NAMES = (*TRAIN_NAMES, *VALIDATION_NAMES, *TEST_NAMES)

# (pictures, masks) folder names, in the order they are looked for: the tutorial's, the plain
# pair, and PASCAL VOC's.
_LAYOUTS = (("Images", "Labels"), ("images", "masks"), ("JPEGImages", "SegmentationClass"))
# What tools call pixels that nobody drew, as class 0.
_BACKGROUNDS = ("background", "_background_", "__background__", "bg", "unlabeled", "unlabelled")
_LOOKED_AT = 50  # labelme files; they may hold their pictures, of some MB each
_COCO_NAMES = ("_annotations.coco.json", "annotations.json")  # Roboflow's comes first


@dataclass
class Pairs:
    """What a data folder holds: samples by name, and pictures without a mask by name.

    `unpaired` are the names of masks without a picture.
    Names are paths without suffix; those of a sub-folder start with the folder's.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    bare: dict[str, Path] = field(default_factory=dict)
    unpaired: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    polygons: bool = False
    note: str = ""


def find_pairs(root: Path, classes: Sequence[str], settings: DataSettings) -> Pairs:
    """Find every picture and mask below `root`; raises DataError when there is no layout.

    `settings.masks` "polygons" looks for annotations only, "auto" for mask folders first, and any
    other rule for mask folders only.
    """
    masks = settings.masks
    folders = _mask_folders(root) if masks != "polygons" else []
    if folders:
        pairs = _from_folders(folders, settings.mask_names)
        names = f"{folders[0][1].name}/ with {folders[0][2].name}/"
        inside = f"{', '.join(prefix for prefix, _, _ in folders)}: " if folders[0][0] else ""
        pairs.note = f"layout: {inside}{names} in {root}"
    elif masks not in ("auto", "polygons"):
        raise _no_layout(root)
    elif files := _coco_files(root):
        pairs = _from_coco(root, files, classes, settings.crowds)
    else:
        pairs = _from_labelme(root, classes)
    if not pairs.samples and not pairs.bare:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {root}")
    return pairs


def _mask_folders(root: Path) -> list[tuple[str, Path, Path]]:
    """(prefix of names, pictures, masks): of the root, or else of its train and val folders."""
    if found := _mask_folder(root):
        return [("", *found)]
    splits = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    pairs = [(name, _mask_folder(root / name)) for name in splits]
    return [(name, *found) for name, found in pairs if found]


def _mask_folder(folder: Path) -> tuple[Path, Path] | None:
    # Compared with the real names: on a case-insensitive disk Images/ would also be images/.
    names = {child.name for child in folder.iterdir() if child.is_dir()}
    for pictures, masks in _LAYOUTS:
        if pictures in names and masks in names:
            return folder / pictures, folder / masks
    return None


def _from_folders(folders: Sequence[tuple[str, Path, Path]], mask_names: str | None) -> Pairs:
    pairs = Pairs()
    for prefix, pictures, masks in folders:
        images = _by_name(pictures, SUFFIXES, prefix, pairs.findings)
        targets = _by_name(masks, SUFFIXES, prefix, pairs.findings)
        if mask_names:
            targets = {picture_name(mask_names, n) or n: path for n, path in targets.items()}
        _pair(pairs, images, targets)
        pairs.unpaired += [name for name in targets if name not in images]
    if pairs.bare and not pairs.samples:
        raise _no_masks(pairs, folders[0][2])
    return pairs


def _no_masks(pairs: Pairs, masks: Path) -> DataError:
    """Both sides' names, and how they may fit."""
    pictures = list(pairs.bare)
    if not pairs.unpaired:
        return DataError(
            f"{masks} holds no masks ({', '.join(SUFFIXES)}) for the "
            f"{len(pictures)} pictures ({_some(pictures)})",
            fix="save a mask of each picture's name there",
        )
    return DataError(
        f"no mask has its picture's name: pictures are called {_some(pictures)}, "
        f"masks {_some(pairs.unpaired)}",
        fix=suggest(pictures, pairs.unpaired),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _from_labelme(root: Path, classes: Sequence[str]) -> Pairs:
    """Pictures with a .json of the same name beside each."""
    named = [root / name for name, _ in _LAYOUTS if (root / name).is_dir()]
    folder = named[0] if named else root
    pairs = Pairs(polygons=True, note=f"layout: labelme files beside the pictures in {folder}")
    targets = _by_name(folder, (".json",), "", pairs.findings)
    images = _by_name(folder, SUFFIXES, "", pairs.findings)
    if not images.keys() & targets.keys():
        raise _no_layout(root)
    _pair(pairs, images, targets)
    drawn = [drawn_names(sample.mask) for sample in list(pairs.samples.values())[:_LOOKED_AT]]
    _background(pairs, folder, set().union(*drawn), classes)
    return pairs


def _background(pairs: Pairs, file: Path, drawn: set[str], classes: Sequence[str]) -> None:
    """Note where class 0, which is all that nobody drew, is something that was drawn."""
    first = classes[0]
    if first in drawn and first.lower() not in _BACKGROUNDS:
        found = f"draws {first}, which is class 0, and so is every pixel that nobody drew"
        fix = f"name the background first: --classes background,{','.join(classes)}"
        pairs.findings.append(Finding("warning", "class-zero", file, found, fix))


def _pair(pairs: Pairs, images: dict[str, Path], masks: dict[str, Path]) -> None:
    for name in sorted(images.keys() | masks.keys(), key=natural):
        if name not in images:
            fix = "add the picture, or remove the mask"
            pairs.findings.append(
                Finding("warning", "missing-picture", masks[name], "is of no picture", fix)
            )
        elif name in masks:
            pairs.samples[name] = Sample(name, images[name], masks[name])
        else:
            pairs.bare[name] = images[name]


def _coco_files(root: Path) -> list[tuple[str, Path]]:
    """(prefix of names, file): one beside the pictures, in annotations/, or in split folders."""
    for name in _COCO_NAMES:
        if (root / name).is_file():
            return [("", root / name)]
    listed = sorted((root / "annotations").glob("*.json"))
    # COCO's own folder also holds captions and keypoints of the same pictures.
    files = [p for p in listed if p.name.startswith("instances_")] or listed
    if files:
        return [(_split_of(path.stem), path) for path in files]
    found = []
    for split in SPLIT_NAMES:
        paths = [root / split / name for name in _COCO_NAMES]
        found += [(split, path) for path in paths if path.is_file()][:1]
    return found


def _split_of(stem: str) -> str:
    """The split that a file's name speaks of: instances_val2017 is of "val"."""
    words = re.findall(r"[a-z]+", stem.lower())
    return next((word for word in words if word in SPLIT_NAMES), "")


def _from_coco(
    root: Path, files: Sequence[tuple[str, Path]], classes: Sequence[str], crowds: Crowds
) -> Pairs:
    listed = ", ".join(str(path.relative_to(root)) for _, path in files)
    pairs = Pairs(polygons=True, note=f"layout: COCO, {listed}")
    read = [(prefix, CocoFile.read(path)) for prefix, path in files]
    take = _take_crowds(pairs, [file for _, file in read], crowds)
    for prefix, file in read:
        path = file.path
        _background(pairs, path, file.drawn, classes)
        own = path.stem.rsplit("_", 1)[-1]  # train2017 of instances_train2017
        places = [
            folder / inside
            for folder in dict.fromkeys((path.parent, root))
            for inside in ("", "images", prefix, f"images/{prefix}", own, f"images/{own}")
        ]
        for drawing in file.draw(classes, take_crowds=take):
            image = next((p for at in places if (p := at / drawing.file_name).is_file()), None)
            name = _name(Path(prefix, drawing.file_name))
            if image is None:
                found = f"names {drawing.file_name}, which is not there"
                fix = "add the picture, or remove its entry"
                pairs.findings.append(Finding("error", "listed-missing", path, found, fix))
            elif name in pairs.samples:
                pairs.findings.append(_clash(pairs.samples[name].image, image))
            else:
                pairs.samples[name] = Sample(name, image, path, drawing)
    return pairs


def _take_crowds(pairs: Pairs, files: Sequence[CocoFile], crowds: Crowds) -> bool:
    """Whether regions with iscrowd are objects; says how many there are.

    CVAT writes what was drawn with its brush, or found by SAM, as run lengths with iscrowd 1.
    """
    count = sum(file.crowds for file in files)
    regions = sum(len(file.annotations) for file in files)
    take = crowds == "take" or (crowds == "auto" and count == regions)
    if count:
        said = f"{count} of {regions} regions are iscrowd"
        pairs.note += f"; {said}, {'taken as objects' if take else 'ignored'}"
        if crowds == "auto" and not take:
            path = next(file.path for file in files if file.crowds)
            fix = (
                "pass --crowds take if they are objects, as brush and SAM masks of CVAT are, "
                "or --crowds ignore if they are crowds"
            )
            finding = Finding("warning", "crowds", path, f"{said}, and so ignored", fix)
            pairs.findings.append(finding)
    return take


def _by_name(
    folder: Path, suffixes: Sequence[str], prefix: str, findings: list[Finding]
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            name = _name(Path(prefix, inside))
            if name in found:
                findings.append(_clash(found[name], path))
            else:
                found[name] = path
    return found


def _name(path: Path) -> str:
    return path.as_posix().removesuffix(path.suffix)


def _clash(first: Path, second: Path) -> Finding:
    found = f"two files of the same name: {first} and {second}"
    return Finding("error", "name-clash", second, found, "rename or remove one")


def _no_layout(root: Path) -> DataError:
    expected = ", ".join(f"{pictures}/ with {masks}/" for pictures, masks in _LAYOUTS)
    if foreign := foreign_annotations(root):
        return DataError(
            f"{root}: {foreign[0]}",
            fix=foreign[1],
        )
    held = ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir()))
    return DataError(
        f"{root} holds {held or 'no folders'}",
        expected=(
            f"expected {expected}, each also below train/ and val/, a COCO "
            "annotations.json, or a labelme .json beside each picture"
        ),
    )
