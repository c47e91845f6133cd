"""Polygons and circles of annotation files, painted as pixels.

One convention serves every annotation tool. Coordinates are continuous: the pixel at row r and
column c covers the square c..c+1, r..r+1. A pixel belongs to a shape that contains its centre. A
rectangle from (2, 3) to (7, 5) covers 5 x 2 pixels, as in COCO's own API. labelme counts the
outline as inside and gives 6 x 3. Pillow's ImageDraw is not used: it truncates coordinates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import DataError
from unet_edge.images.picture_file import MAX_PIXELS
from unet_edge.images.placement import Labels
from unet_edge.system.files import read_regular

Points = NDArray[np.float64]
"""Corners as (x, y) px, float64 (N, 2)."""

_MOST_BYTES = 2**31  # of an annotation file; instances_train2017.json of COCO has 4.5e8
_LARGEST_COORDINATE = 1e6  # px; a larger one is a mistake, and takes long to paint


@dataclass(frozen=True)
class Place:
    """A part of an annotation file, such as "shape 3": what an error is about."""

    file: Path
    part: str

    def error(self, found: str, *, expected: str = "", fix: str = "") -> DataError:
        """Make a DataError about this place."""
        return DataError(
            f"{self.part}: {found}", expected=expected, fix=fix, subject=f"{self.file}:"
        )


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file; raises DataError."""
    try:
        data = json.loads(read_regular(path, _MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {error}", subject=str(path)) from error
    if not isinstance(data, dict):
        raise DataError(
            f"holds a JSON {type(data).__name__}", expected="expected an object", subject=str(path)
        )
    return data


def blank(height: Any, width: Any, place: Place) -> Labels:
    """Make a mask of class 0, uint8 (height, width). Raises DataError for an unusable size."""
    if not all(type(edge) is int and edge > 0 for edge in (height, width)):
        raise place.error(
            f"the size is {width!r} x {height!r}", expected="expected two positive whole numbers"
        )
    if height * width > MAX_PIXELS:
        raise place.error(
            f"the size is {width}x{height} px", expected=f"expected at most {MAX_PIXELS:,} px"
        )
    return np.zeros((height, width), np.uint8)


def to_points(flat: Sequence[Any], place: Place, fewest: int = 3) -> Points:
    """Make points of x, y, x, y, ….

    Raises DataError for fewer points than `fewest`, and for a number that is not finite.
    """
    numbers = [value for value in flat if type(value) in (int, float)]
    if len(numbers) != len(flat) or len(numbers) % 2 or len(numbers) < 2 * fewest:
        raise place.error(
            "the points are incomplete",
            expected=f"expected at least {fewest} points of two numbers each",
        )
    if not all(math.isfinite(value) and abs(value) <= _LARGEST_COORDINATE for value in numbers):
        raise place.error(
            "a coordinate is too large or not finite",
            expected=f"expected at most {_LARGEST_COORDINATE:.0f} px",
        )
    return np.array(numbers, np.float64).reshape(-1, 2)


def paint_polygon(labels: Labels, points: Points, value: int) -> None:
    """Set the pixels inside one closed polygon to `value`, in place, by the even-odd rule."""
    height, width = labels.shape
    starts, ends = points, np.roll(points, -1, axis=0)
    # Each edge crosses the centre lines of rows `first` to `last` - 1.
    first = _first_centre(np.minimum(starts[:, 1], ends[:, 1]), height)
    last = _first_centre(np.maximum(starts[:, 1], ends[:, 1]), height)
    crossings = last - first
    if not crossings.any():
        return
    edge = np.repeat(np.arange(len(points)), crossings)
    row = np.arange(crossings.sum()) - np.repeat(np.cumsum(crossings) - crossings, crossings)
    row += first[edge]
    slope = (ends[edge, 0] - starts[edge, 0]) / (ends[edge, 1] - starts[edge, 1])
    column = _first_centre(starts[edge, 0] + (row + 0.5 - starts[edge, 1]) * slope, width)
    # To the right of each crossing, inside and outside change places.
    top, left = int(row.min()), int(column.min())
    box = (int(row.max()) - top + 1, int(column.max()) - left + 1)
    turns = np.bincount((row - top) * box[1] + column - left, minlength=box[0] * box[1])
    inside = np.cumsum(turns.reshape(box), axis=1) % 2 == 1
    window = labels[top : top + box[0], left : left + box[1]]
    window[inside[:, : window.shape[1]]] = value


def paint_circle(labels: Labels, centre: Points, edge: Points, value: int) -> None:
    """Set the pixels inside a circle to `value`, in place.

    `centre` and `edge`, a point on the circle, are (x, y) px.
    """
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    squared = (columns + 0.5 - centre[0]) ** 2 + (rows + 0.5 - centre[1]) ** 2
    labels[squared <= ((edge - centre) ** 2).sum()] = value


def _first_centre(position: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The first of `count` pixels whose centre is at or after `position`."""
    return np.asarray(np.ceil(position - 0.5).clip(0, count).astype(np.intp))
