"""labelme: one JSON file beside each picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.dataset.shapes import (
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

# labelme's own names, from its labels.txt.
_BACKGROUND, _IGNORED = "_background_", "__ignore__"


def read_labelme(path: Path, classes: Sequence[str]) -> Labels:
    """Draw the shapes of one file, later over earlier: uint8 (H, W); raises DataError.

    The first class is the background, which also `_background_` names; `__ignore__` is ignored.
    Reads polygons, rectangles (oriented ones too), circles and masks; points and lines, which
    cover no area, are an error.
    """
    data = read_object(path)
    shapes = data.get("shapes")
    if not isinstance(shapes, list):
        raise DataError(f"{path} is no labelme file: it has no list of shapes")
    labels = blank(data.get("imageHeight"), data.get("imageWidth"), str(path))
    values = {_BACKGROUND: 0, _IGNORED: IGNORE} | {name: k for k, name in enumerate(classes)}
    for number, shape in enumerate(shapes, 1):
        _paint(labels, shape, values, f"{path}, shape {number}")
    return labels


def drawn_names(path: Path) -> set[str]:
    """The labels of a file's shapes; none where it cannot be read."""
    try:
        shapes = read_object(path).get("shapes")
    except DataError:
        return set()
    shapes = shapes if isinstance(shapes, list) else []
    names = (shape.get("label") for shape in shapes if isinstance(shape, dict))
    return {name for name in names if isinstance(name, str)}


def _paint(labels: Labels, shape: Any, values: dict[str, int], place: str) -> None:
    points = shape.get("points") if isinstance(shape, dict) else None
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise DataError(f"{place}: expected a list of points of two numbers each")
    label = shape.get("label")
    if not isinstance(label, str) or label not in values:
        raise DataError(
            f"{place} is labelled {label!r}, which is no class",
            fix="name it with --classes",
        )
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
                raise DataError(f"{place}: expected four points, got {len(corners)}")
            paint_polygon(labels, corners, values[label])
        case "mask":
            corners = _two(to_points(flat, place, 2), place)
            _paint_bits(labels, corners, shape.get("mask"), values[label], place)
        case "point" | "points" | "line" | "linestrip":
            raise DataError(
                f"{place} is a {kind}, which covers no area",
                fix="draw a polygon, rectangle, circle or mask instead, or delete it",
            )
        case _:
            raise DataError(
                f"{place} is a {kind}, a shape this version does not read",
                fix="draw a polygon, rectangle, circle or mask instead",
            )


def _paint_bits(labels: Labels, corners: Points, encoded: Any, value: int, place: str) -> None:
    """Set what a PNG of bits covers; `corners` are its first and its last pixel, (x, y)."""
    (left, top), (right, bottom) = corners.astype(int).tolist()
    try:
        data = base64.b64decode(encoded, validate=True)
        bits = np.asarray(read_labels(data)) > 0
    except (TypeError, ValueError, ImageError) as error:
        raise DataError(
            f"{place}: its mask is not a PNG in base64",
            fix="draw it again",
        ) from error
    if bits.shape != (bottom - top + 1, right - left + 1):
        raise DataError(
            f"{place}: its mask has {bits.shape[1]}x{bits.shape[0]} px, its "
            f"corners span {right - left + 1}x{bottom - top + 1}",
            fix="draw it again",
        )
    height, width = labels.shape
    inside = bits[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    rows = slice(max(0, top), max(0, top) + inside.shape[0])
    columns = slice(max(0, left), max(0, left) + inside.shape[1])
    labels[rows, columns][inside] = value


def _two(points: Any, place: str) -> Any:
    if len(points) != 2:
        raise DataError(f"{place}: expected two points, got {len(points)}")
    return points
