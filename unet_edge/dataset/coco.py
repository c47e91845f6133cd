"""COCO: one JSON file with the regions of many pictures, as polygons or run lengths."""

from __future__ import annotations

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
from unet_edge.placement import Labels
from unet_edge.run_length import parse_runs, runs_to_mask
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class Region:
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
    regions: tuple[Region, ...]

    def labels(self) -> Labels:
        """Draw the regions, later over earlier: uint8 (H, W); raises DataError."""
        labels = blank(self.height, self.width, self.place)
        for region in self.regions:
            _paint(labels, region)
        return labels


def read_coco(path: Path, classes: Sequence[str]) -> list[CocoPicture]:
    """Every picture of a file, categories mapped to `classes` by name.

    Regions with iscrowd or ignore are labelled IGNORE. The first class is the background, which
    nobody needs to draw; a picture without regions is all background.
    Raises DataError when the file is malformed or a used category is no class.
    """
    data = read_object(path)
    names = _names(data, path)
    pictures = {_id(image, "id", path): image for image in _objects(data, "images", path)}
    regions: dict[int, list[Region]] = {key: [] for key in pictures}
    unknown: set[str] = set()
    for annotation in _objects(data, "annotations", path):
        place = f"{path}, annotation {annotation.get('id')}"
        picture, category = (_id(annotation, key, path) for key in ("image_id", "category_id"))
        if picture not in regions:
            raise DataError(f"{place} belongs to image {picture}, which the file does not list")
        if category not in names:
            raise DataError(f"{place} is of category {category}, which the file does not list")
        label = IGNORE
        if not (annotation.get("iscrowd") or annotation.get("ignore")):
            if names[category] not in classes:
                unknown.add(names[category])
                continue
            label = list(classes).index(names[category])
        regions[picture].append(Region(label, annotation.get("segmentation"), place))
    if unknown:
        raise DataError(
            f"{path} draws {', '.join(sorted(unknown))}, not among the classes "
            f"{', '.join(classes)}; name them with --classes, the background first"
        )
    found = []
    for key, image in pictures.items():
        name = _safe_name(image.get("file_name"), path)
        size = image.get("height"), image.get("width")
        found.append(CocoPicture(name, *size, f"{path}, {name}", tuple(regions[key])))
    return found


def _names(data: dict[str, Any], path: Path) -> dict[int, str]:
    return {_id(c, "id", path): str(c.get("name")) for c in _objects(data, "categories", path)}


def _objects(data: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = data.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(f"{path} is no COCO file: {key} is not a list of objects")
    return values


def _id(value: dict[str, Any], key: str, path: Path) -> int:
    number = value.get(key)
    if type(number) is not int:
        raise DataError(f"{path}: {key} is {number!r}, not a whole number")
    return number


def _safe_name(name: Any, path: Path) -> str:
    """A file name that stays below the data folder, its separators those of POSIX."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"{path}: the file_name {name!r} names no picture")
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or ":" in posix.parts[0]:
        raise DataError(f"{path}: the file_name {name!r} leads out of the data folder")
    return str(posix)


def _paint(labels: Labels, region: Region) -> None:
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
                f"{region.place} has no polygon and no run lengths; a box alone is no mask"
            )
