"""Annotation files beside pictures: COCO files and labelme files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet_edge.dataset.class_names import background_first, misplaced_background
from unet_edge.dataset.coco import CocoFile
from unet_edge.dataset.findings import Finding
from unet_edge.dataset.labelme import drawn_names
from unet_edge.dataset.mask_folders import FOLDER_NAMES
from unet_edge.dataset.pairs import SPLIT_NAMES, Pairs, bare_path, files_by_name, name_clash
from unet_edge.dataset.sample import Sample
from unet_edge.dataset.settings import Crowds
from unet_edge.images.picture_file import SUFFIXES

# What annotation tools call class 0, the pixels outside every shape.
_BACKGROUNDS = ("background", "_background_", "__background__", "bg", "unlabeled", "unlabelled")
_EXAMINED = 50  # labelme files; one may hold its picture, of some MB
COCO_NAMES = ("_annotations.coco.json", "annotations.json")  # Roboflow's comes first


@dataclass(frozen=True)
class CocoSource:
    """A COCO file of a data folder; names of samples start with `prefix`."""

    prefix: str
    path: Path


def find_coco_files(root: Path) -> list[CocoSource]:
    """Find COCO files: one in the root, else those in annotations/, else one in each split."""
    for name in COCO_NAMES:
        if (root / name).is_file():
            return [CocoSource("", root / name)]
    listed = sorted((root / "annotations").glob("*.json"))
    # COCO's own folder also holds captions and keypoints of the same pictures.
    paths = [path for path in listed if path.name.startswith("instances_")] or listed
    if paths:
        return [CocoSource(_split_of(path.stem), path) for path in paths]
    sources = []
    for split in SPLIT_NAMES:
        candidates = [root / split / name for name in COCO_NAMES]
        sources += [CocoSource(split, path) for path in candidates if path.is_file()][:1]
    return sources


def _split_of(stem: str) -> str:
    """The split that a file's name contains: "val" for instances_val2017."""
    words = re.findall(r"[a-z]+", stem.lower())
    return next((word for word in words if word in SPLIT_NAMES), "")


def pairs_of_coco(
    root: Path, sources: Sequence[CocoSource], classes: Sequence[str], crowds: Crowds
) -> Pairs:
    """Match COCO files with their pictures. Raises DataError for a malformed file."""
    listed = ", ".join(str(source.path.relative_to(root)) for source in sources)
    pairs = Pairs(polygons=True, note=f"layout: COCO, {listed}")
    files = [CocoFile.read(source.path) for source in sources]
    take_crowds = _take_crowds(pairs, files, crowds)
    for source, file in zip(sources, files, strict=True):
        _warn_of_class_zero(pairs, file.path, file.drawn, classes)
        folders = _picture_folders(root, source)
        for drawing in file.draw(classes, take_crowds=take_crowds):
            candidates = (folder / drawing.file_name for folder in folders)
            picture = next((path for path in candidates if path.is_file()), None)
            name = bare_path(Path(source.prefix, drawing.file_name))
            if picture is None:
                found = f"names {drawing.file_name}, which is missing"
                fix = "add the picture, or remove its entry"
                pairs.findings.append(Finding("error", "listed-missing", file.path, found, fix))
            elif name in pairs.samples:
                pairs.findings.append(name_clash(pairs.samples[name].image, picture))
            else:
                pairs.samples[name] = Sample(name, picture, file.path, drawing)
    return pairs


def _picture_folders(root: Path, source: CocoSource) -> list[Path]:
    """Where the pictures of a COCO file are looked for, first place first."""
    suffix = source.path.stem.rsplit("_", 1)[-1]  # train2017 of instances_train2017
    names = ("", source.prefix, suffix)
    return [
        parent / inside / name
        for parent in dict.fromkeys((source.path.parent, root))
        for name in names
        for inside in ("", "images")
    ]


def _take_crowds(pairs: Pairs, files: Sequence[CocoFile], crowds: Crowds) -> bool:
    """Whether regions with iscrowd are objects; their number goes to the note.

    CVAT writes regions from its brush or from SAM as run lengths with iscrowd 1.
    """
    count = sum(file.crowds for file in files)
    regions = sum(len(file.annotations) for file in files)
    take = crowds == "take" or (crowds == "auto" and count == regions)
    if count:
        share = f"{count} of {regions} regions are iscrowd"
        pairs.note += f"; {share}, {'taken as objects' if take else 'ignored'}"
        if crowds == "auto" and not take:
            path = next(file.path for file in files if file.crowds)
            fix = (
                "pass --crowds take if they are objects, as brush and SAM masks of CVAT are, "
                "or --crowds ignore if they are crowds"
            )
            finding = Finding("warning", "crowds", path, f"{share}, and so ignored", fix)
            pairs.findings.append(finding)
    return take


def pairs_of_labelme(root: Path, classes: Sequence[str]) -> Pairs | None:
    """Match pictures with the .json files of the same names; None if there are none."""
    named = [root / name for name, _ in FOLDER_NAMES if (root / name).is_dir()]
    folder = named[0] if named else root
    pairs = Pairs(polygons=True, note=f"layout: labelme files beside the pictures in {folder}")
    files = files_by_name(folder, (".json",), "", pairs.findings)
    pictures = files_by_name(folder, SUFFIXES, "", pairs.findings)
    if not pictures.keys() & files.keys():
        return None
    pairs.match(pictures, files)
    drawn = [drawn_names(sample.mask) for sample in list(pairs.samples.values())[:_EXAMINED]]
    _warn_of_class_zero(pairs, folder, set().union(*drawn), classes)
    return pairs


def _warn_of_class_zero(pairs: Pairs, file: Path, drawn: set[str], classes: Sequence[str]) -> None:
    """Report a first class that was drawn: class 0 also covers every pixel outside the shapes."""
    first = classes[0]
    if misplaced_background(classes):
        return  # reported by `survey`
    if first in drawn and first.lower() not in _BACKGROUNDS:
        found = f"draws {first}, which is class 0, as is every pixel outside the shapes"
        finding = Finding("warning", "class-zero", file, found, background_first(classes))
        pairs.findings.append(finding)
