"""labelme: one JSON file beside each picture."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.dataset.class_names import name_drawn
from unet_edge.dataset.shapes import (
    Place,
    Points,
    blank,
    paint_circle,
    paint_polygon,
    read_object,
    to_points,
)
from unet_edge.errors import DataError, ImageError
from unet_edge.images.mask_file import read_labels
from unet_edge.images.placement import Labels
from unet_edge.spec import IGNORE

# Of labelme's labels.txt.
_BACKGROUND, _IGNORED = "_background_", "__ignore__"
_EXAMINED = 50  # files for the names in an error; one may hold its picture, of some MB
_DRAWABLE = "a polygon, rectangle, circle or mask"


def read_labelme(path: Path, classes: Sequence[str]) -> Labels:
    """Paint the shapes of one file in order, later ones over earlier ones, as uint8 (H, W).

    Polygons, rectangles, oriented rectangles, circles and masks are painted. The label
    `_background_` is class 0 too, and `__ignore__` is IGNORE.
    Raises DataError for a malformed file, and for points and lines, which cover no area.
    """
    data = read_object(path)
    shapes = data.get("shapes")
    if not isinstance(shapes, list):
        raise DataError(
            "is not a labelme file", expected="expected a list of shapes", subject=str(path)
        )
    size = data.get("imageHeight"), data.get("imageWidth")
    labels = blank(*size, Place(path, "imageWidth and imageHeight"))
    values = {_BACKGROUND: 0, _IGNORED: IGNORE} | {name: k for k, name in enumerate(classes)}
    for number, shape in enumerate(shapes, 1):
        place = Place(path, f"shape {number}")
        label = shape.get("label") if isinstance(shape, dict) else None
        if isinstance(label, str) and label not in values:
            raise place.error(
                f"the label {label!r} is not among the classes {', '.join(classes)}",
                fix=name_drawn(classes, drawn_names(path) | _drawn_beside(path.parent)),
            )
        _paint(labels, shape, values, place)
    return labels


def drawn_names(path: Path) -> set[str]:
    """The labels of a file's shapes that should be classes; empty for an unreadable file."""
    try:
        shapes = read_object(path).get("shapes")
    except DataError:
        return set()
    shapes = shapes if isinstance(shapes, list) else []
    names = (shape.get("label") for shape in shapes if isinstance(shape, dict))
    return {name for name in names if isinstance(name, str)} - {_BACKGROUND, _IGNORED}


def _drawn_beside(folder: Path) -> set[str]:
    """The labels of the labelme files in a folder."""
    return _drawn_in(folder, folder.stat().st_mtime_ns)


# Every file of a data set may ask for it, and reading them takes seconds.
@functools.lru_cache(maxsize=1)
def _drawn_in(folder: Path, changed_at: int) -> set[str]:
    """`changed_at` makes the answer for a changed folder a new one."""
    return set().union(*(drawn_names(path) for path in sorted(folder.glob("*.json"))[:_EXAMINED]))


def _paint(labels: Labels, shape: Any, values: dict[str, int], place: Place) -> None:
    points = shape.get("points") if isinstance(shape, dict) else None
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise place.error(
            "the points are malformed", expected="expected a list of points of two numbers each"
        )
    label = shape.get("label")
    if not isinstance(label, str) or label not in values:
        raise place.error(f"the label {label!r} is not the name of a class")
    kind = shape.get("shape_type") or "polygon"  # absent before labelme 3.16
    flat = [number for point in points for number in point]
    match kind:
        case "polygon":
            paint_polygon(labels, to_points(flat, place), values[label])
        case "rectangle":
            (left, top), (right, bottom) = _two(to_points(flat, place, 2), place)
            corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            paint_polygon(labels, corners, values[label])
        case "circle":
            centre, edge = _two(to_points(flat, place, 2), place)
            paint_circle(labels, centre, edge, values[label])
        case "oriented_rectangle":
            corners = to_points(flat, place, 4)
            if len(corners) != 4:
                raise place.error(f"it has {len(corners)} points", expected="expected four points")
            paint_polygon(labels, corners, values[label])
        case "mask":
            corners = _two(to_points(flat, place, 2), place)
            _paint_bits(labels, corners, shape.get("mask"), values[label], place)
        case "point" | "points" | "line" | "linestrip":
            raise place.error(
                f"the shape type {kind} covers no area",
                fix=f"draw {_DRAWABLE} instead, or delete it",
            )
        case _:
            raise place.error(
                f"this version does not read the shape type {kind}", fix=f"draw {_DRAWABLE} instead"
            )


def _paint_bits(labels: Labels, corners: Points, encoded: Any, value: int, place: Place) -> None:
    """Set the pixels that a PNG of bits covers; `corners` are its first and last pixel, (x, y)."""
    (left, top), (right, bottom) = corners.astype(int).tolist()
    try:
        data = base64.b64decode(encoded, validate=True)
        bits = np.asarray(read_labels(data)) > 0
    except (TypeError, ValueError, ImageError) as error:
        raise place.error("the mask is not a PNG in base64", fix="draw it again") from error
    if bits.shape != (bottom - top + 1, right - left + 1):
        raise place.error(
            f"the mask has {bits.shape[1]}x{bits.shape[0]} px, its corners span "
            f"{right - left + 1}x{bottom - top + 1}",
            fix="draw it again",
        )
    height, width = labels.shape
    inside = bits[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    rows = slice(max(0, top), max(0, top) + inside.shape[0])
    columns = slice(max(0, left), max(0, left) + inside.shape[1])
    labels[rows, columns][inside] = value


def _two(points: Any, place: Place) -> Any:
    if len(points) != 2:
        raise place.error(f"it has {len(points)} points", expected="expected two points")
    return points
