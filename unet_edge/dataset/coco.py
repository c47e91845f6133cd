"""COCO: one JSON file with the regions of many pictures, as polygons or run lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unet_edge.dataset.shapes import (
    blank,
    paint_polygon,
    read_object,
    to_points,
)
from unet_edge.errors import DataError
from unet_edge.images.placement import Labels
from unet_edge.masks.run_length import parse_runs, runs_to_mask
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class CocoRegion:
    """One annotation: the label it is drawn with, and its segmentation as it stands in the file."""

    label: int
    segmentation: Any
    place: str


@dataclass(frozen=True)
class CocoPicture:
    """One picture of a COCO file; `file_name` is as written there, its regions in file order."""

    file_name: str
    height: Any
    width: Any
    place: str
    regions: tuple[CocoRegion, ...]

    def labels(self) -> Labels:
        """Draw the regions, later over earlier: uint8 (H, W); raises DataError."""
        labels = blank(self.height, self.width, self.place)
        for region in self.regions:
            _paint(labels, region)
        return labels


@dataclass(frozen=True)
class CocoFile:
    """A COCO file: its lists, checked, with ids as text, which some tools write instead of numbers.

    `names` are the categories by id, `pictures` and `annotations` are as they stand in the file.
    """

    path: Path
    names: dict[str, str]
    pictures: dict[str, dict[str, Any]]
    annotations: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> CocoFile:
        """Read a file; raises DataError when it is malformed."""
        data = read_object(path)
        names = {
            key: str(category.get("name"))
            for key, category in _by_id(_objects(data, "categories", path), "categories", path)
        }
        pictures = dict(_by_id(_objects(data, "images", path), "images", path))
        annotations = tuple(_objects(data, "annotations", path))
        for annotation in annotations:
            place = f"{path}, annotation {annotation.get('id')}"
            picture, category = (_id(annotation, key, path) for key in ("image_id", "category_id"))
            if picture not in pictures:
                raise DataError(f"{place} belongs to image {picture}, which the file does not list")
            if category not in names:
                raise DataError(f"{place} is of category {category}, which the file does not list")
        return cls(path, names, pictures, annotations)

    @property
    def crowds(self) -> int:
        """How many regions have iscrowd 1."""
        return sum(bool(annotation.get("iscrowd")) for annotation in self.annotations)

    @property
    def drawn(self) -> set[str]:
        """The names of the categories that have a region."""
        return {self.names[_id(a, "category_id", self.path)] for a in self.annotations}

    def draw(self, classes: Sequence[str], *, take_crowds: bool) -> list[CocoPicture]:
        """Every picture, categories mapped to `classes` by name.

        Regions with ignore are labelled IGNORE, and so are those with iscrowd unless
        `take_crowds`. The first class is the background, which nobody needs to draw; a picture
        without regions is all background. Raises DataError when a used category is no class.
        """
        regions: dict[str, list[CocoRegion]] = {key: [] for key in self.pictures}
        unknown: set[str] = set()
        for annotation in self.annotations:
            category = self.names[_id(annotation, "category_id", self.path)]
            label = IGNORE
            crowd = annotation.get("iscrowd") and not take_crowds
            if not (crowd or annotation.get("ignore")):
                if category not in classes:
                    unknown.add(category)
                    continue
                label = list(classes).index(category)
            place = f"{self.path}, annotation {annotation.get('id')}"
            region = CocoRegion(label, annotation.get("segmentation"), place)
            regions[_id(annotation, "image_id", self.path)].append(region)
        if unknown:
            raise DataError(
                f"{self.path} draws {', '.join(sorted(unknown))}, not among the "
                f"classes {', '.join(classes)}",
                fix=(
                    "name them with --classes, the background first: --classes "
                    f"{','.join(dict.fromkeys([*_backed(classes), *sorted(unknown)]))}"
                ),
            )
        found = []
        for key, image in self.pictures.items():
            name = _safe_name(image.get("file_name"), self.path)
            size = image.get("height"), image.get("width")
            place = f"{self.path}, {name}"
            found.append(CocoPicture(name, *size, place, tuple(regions[key])))
        return found


def _backed(classes: Sequence[str]) -> list[str]:
    """The classes, or the background alone where they are what --classes is by default."""
    return ["background"] if list(classes) == ["background", "object"] else list(classes)


def _objects(data: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = data.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(f"{path} is no COCO file: {key} is not a list of objects")
    return values


def _by_id(
    values: Sequence[dict[str, Any]], kind: str, path: Path
) -> list[tuple[str, dict[str, Any]]]:
    keyed = [(_id(value, "id", path), value) for value in values]
    twice = [key for key, count in Counter(key for key, _ in keyed).items() if count > 1]
    if twice:
        raise DataError(
            f"{path}: two {kind} have the id {twice[0]}",
            fix="give each its own",
        )
    return keyed


def _id(value: dict[str, Any], key: str, path: Path) -> str:
    """An id as text: 7 and "7" are the same."""
    found = value.get(key)
    if type(found) not in (int, str):
        raise DataError(
            f"{path}: {key} is {found!r}, not a whole number or a text",
            fix="export the file again, or number its images and categories",
        )
    return str(found)


def _safe_name(name: Any, path: Path) -> str:
    """A file name that stays below the data folder, its separators those of POSIX."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"{path}: the file_name {name!r} names no picture")
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or ":" in posix.parts[0]:
        raise DataError(f"{path}: the file_name {name!r} leads out of the data folder")
    return str(posix)


def _paint(labels: Labels, region: CocoRegion) -> None:
    match region.segmentation:
        case [*polygons] if polygons and all(isinstance(ring, list) for ring in polygons):
            for ring in polygons:
                paint_polygon(labels, to_points(ring, region.place), region.label)
        case {"counts": str() | list() as counts, "size": [int() as height, int() as width]}:
            if (height, width) != labels.shape:
                raise DataError(
                    f"{region.place} is {width}x{height} px, "
                    f"its picture {labels.shape[1]}x{labels.shape[0]}"
                )
            runs = parse_runs(counts) if isinstance(counts, str) else counts
            whole = runs is not None and all(type(run) is int for run in runs)
            mask = runs_to_mask(runs, height, width) if runs is not None and whole else None
            if mask is None:
                raise DataError(f"{region.place}: the run lengths are damaged")
            labels[mask] = region.label
        case _:
            raise DataError(
                f"{region.place} has no polygon and no run lengths",
                expected="a box alone is no mask",
            )
