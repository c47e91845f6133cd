"""COCO: one JSON file with the regions of many pictures, as polygons or run lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unet_edge.dataset.class_names import name_drawn
from unet_edge.dataset.shapes import Place, blank, paint_polygon, read_object, to_points
from unet_edge.errors import DataError
from unet_edge.images.placement import Labels
from unet_edge.masks.run_length import parse_runs, runs_to_mask
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class CocoRegion:
    """One annotation: the label it is painted with, and the file's segmentation as it is."""

    label: int
    segmentation: Any
    place: Place


@dataclass(frozen=True)
class CocoPicture:
    """One picture of a COCO file, its regions in the file's order."""

    file_name: str
    height: Any
    width: Any
    place: Place
    regions: tuple[CocoRegion, ...]

    def labels(self) -> Labels:
        """Paint the regions in order, later ones over earlier ones, as uint8 (H, W).

        Raises DataError for a malformed region.
        """
        labels = blank(self.height, self.width, self.place)
        for region in self.regions:
            _paint(labels, region)
        return labels


@dataclass(frozen=True)
class CocoFile:
    """A COCO file whose ids have been checked.

    `names` holds the names of the categories by id, `pictures` the file's images by id. Ids are
    text here, because some tools write text instead of numbers.
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
            place = _place(path, annotation)
            picture, category = (_id(annotation, key, path) for key in ("image_id", "category_id"))
            if picture not in pictures:
                raise place.error(f"the file does not list its image, {picture}")
            if category not in names:
                raise place.error(f"the file does not list its category, {category}")
        return cls(path, names, pictures, annotations)

    @property
    def crowds(self) -> int:
        """The number of regions with iscrowd 1."""
        return sum(bool(annotation.get("iscrowd")) for annotation in self.annotations)

    @property
    def drawn(self) -> set[str]:
        """The names of the categories that have a region."""
        return {self.names[_id(a, "category_id", self.path)] for a in self.annotations}

    def draw(self, classes: Sequence[str], *, take_crowds: bool) -> list[CocoPicture]:
        """Return every picture, with categories mapped to `classes` by name.

        Regions with ignore get the label IGNORE. So do regions with iscrowd, unless `take_crowds`.
        The first class is the background: pixels outside every region.
        Raises DataError when a region's category is not among the classes.
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
            place = _place(self.path, annotation)
            region = CocoRegion(label, annotation.get("segmentation"), place)
            regions[_id(annotation, "image_id", self.path)].append(region)
        if unknown:
            raise DataError(
                f"draws {', '.join(sorted(unknown))}, not among the classes {', '.join(classes)}",
                fix=name_drawn(classes, unknown | (self.drawn & set(classes))),
                subject=str(self.path),
            )
        drawn = []
        for key, image in self.pictures.items():
            name = _safe_name(image.get("file_name"), self.path)
            size = image.get("height"), image.get("width")
            drawn.append(CocoPicture(name, *size, Place(self.path, name), tuple(regions[key])))
        return drawn


def _place(path: Path, annotation: dict[str, Any]) -> Place:
    return Place(path, f"annotation {annotation.get('id')}")


def _objects(data: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = data.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(
            "is not a COCO file", expected=f"expected a list of objects as {key}", subject=str(path)
        )
    return values


def _by_id(
    values: Sequence[dict[str, Any]], kind: str, path: Path
) -> list[tuple[str, dict[str, Any]]]:
    keyed = [(_id(value, "id", path), value) for value in values]
    twice = [key for key, count in Counter(key for key, _ in keyed).items() if count > 1]
    if twice:
        raise DataError(
            f"two {kind} have the id {twice[0]}", fix="give each its own", subject=f"{path}:"
        )
    return keyed


def _id(value: dict[str, Any], key: str, path: Path) -> str:
    """An id as text: 7 and "7" are the same."""
    identifier = value.get(key)
    if type(identifier) not in (int, str):
        raise DataError(
            f"{key} is {identifier!r}",
            expected="expected a whole number or a text",
            fix="export the file again, or number its images and categories",
            subject=f"{path}:",
        )
    return str(identifier)


def _safe_name(name: Any, path: Path) -> str:
    """A file name below the data folder, with the separators of POSIX. Raises DataError."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"the file_name {name!r} names no picture", subject=f"{path}:")
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or ":" in posix.parts[0]:
        raise DataError(f"the file_name {name!r} leads out of the data folder", subject=f"{path}:")
    return str(posix)


def _paint(labels: Labels, region: CocoRegion) -> None:
    match region.segmentation:
        case [*polygons] if polygons and all(isinstance(ring, list) for ring in polygons):
            for ring in polygons:
                paint_polygon(labels, to_points(ring, region.place), region.label)
        case {"counts": str() | list() as counts, "size": [int() as height, int() as width]}:
            if (height, width) != labels.shape:
                raise region.place.error(
                    f"the mask has {width}x{height} px, "
                    f"the picture {labels.shape[1]}x{labels.shape[0]}"
                )
            runs = parse_runs(counts) if isinstance(counts, str) else counts
            numbers = runs is not None and all(type(run) is int for run in runs)
            mask = runs_to_mask(runs, height, width) if runs is not None and numbers else None
            if mask is None:
                raise region.place.error("the run lengths are damaged")
            labels[mask] = region.label
        case _:
            raise region.place.error(
                "the region has neither polygons nor run lengths",
                fix="export masks or polygons, not only boxes",
            )
