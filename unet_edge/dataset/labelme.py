"""labelme: one JSON file beside each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.dataset.shapes import blank, paint_circle, paint_polygon, read_object, to_points
from unet_edge.errors import DataError
from unet_edge.placement import Labels
from unet_edge.spec import IGNORE

# labelme's own names, from its labels.txt.
_BACKGROUND, _IGNORED = "_background_", "__ignore__"


def read_labelme(path: Path, classes: Sequence[str]) -> Labels:
    """Draw the shapes of one file, later over earlier: uint8 (H, W); raises DataError.

    The first class is the background, which also `_background_` names; `__ignore__` is ignored.
    Reads polygons, rectangles and circles; any other shape is an error.
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


def _paint(labels: Labels, shape: Any, values: dict[str, int], place: str) -> None:
    points = shape.get("points") if isinstance(shape, dict) else None
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise DataError(f"{place}: expected a list of points of two numbers each")
    label = shape.get("label")
    if not isinstance(label, str) or label not in values:
        raise DataError(f"{place} is labelled {label!r}, which is no class; name it with --classes")
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
        case _:
            raise DataError(
                f"{place} is a {kind}, which covers no area that we know; "
                "draw a polygon, rectangle or circle instead"
            )


def _two(points: Any, place: str) -> Any:
    if len(points) != 2:
        raise DataError(f"{place}: expected two points, got {len(points)}")
    return points
