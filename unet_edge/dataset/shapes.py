"""What annotators draw, as pixels: polygons and circles; run lengths are in `run_length`.

One convention for every tool: coordinates are continuous, pixel (row r, column c) covers the
square c..c+1, r..r+1, and belongs to a shape that holds its centre. A rectangle from (2, 3) to
(7, 5) covers 5 x 2 pixels, as in COCO's own API; labelme's, which counts the outline as inside,
would give 6 x 3. Not Pillow's ImageDraw: it cuts coordinates to whole numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
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

_MOST_BYTES = 2**31  # of annotations; instances_train2017.json of COCO has 4.5e8
_FARTHEST = 1e6  # px; a coordinate beyond is a mistake, and would only cost time


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises DataError."""
    try:
        data = json.loads(read_regular(path, _MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is not a JSON object, but {type(data).__name__}")
    return data


def blank(height: Any, width: Any, place: str) -> Labels:
    """A mask of class 0, uint8 (height, width); raises DataError for sizes that are none."""
    if not all(type(edge) is int and edge > 0 for edge in (height, width)):
        raise DataError(f"{place}: the size {width!r} x {height!r} is not two numbers of pixels")
    if height * width > MAX_PIXELS:
        raise DataError(f"{place}: {width}x{height} px are more than this tool reads")
    return np.zeros((height, width), np.uint8)


def to_points(flat: Sequence[Any], place: str, fewest: int = 3) -> Points:
    """Points from x, y, x, y, …; raises DataError unless they are finite and enough."""
    numbers = [value for value in flat if type(value) in (int, float)]
    if len(numbers) != len(flat) or len(numbers) % 2 or len(numbers) < 2 * fewest:
        raise DataError(f"{place}: expected at least {fewest} points of two numbers each")
    if not all(math.isfinite(value) and abs(value) <= _FARTHEST for value in numbers):
        raise DataError(f"{place}: a coordinate is not finite, or beyond {_FARTHEST:.0f} px")
    return np.array(numbers, np.float64).reshape(-1, 2)


def paint_polygon(labels: Labels, points: Points, value: int) -> None:
    """Set the pixels of one closed polygon, in place; even-odd where it crosses itself."""
    height, width = labels.shape
    starts, ends = points, np.roll(points, -1, axis=0)
    # Each edge crosses the centre lines of the rows first..last-1: those in [low, high).
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
    # Every crossing turns inside into outside for what lies right of it.
    top, left = int(row.min()), int(column.min())
    box = (int(row.max()) - top + 1, int(column.max()) - left + 1)
    turns = np.bincount((row - top) * box[1] + column - left, minlength=box[0] * box[1])
    inside = np.cumsum(turns.reshape(box), axis=1) % 2 == 1
    window = labels[top : top + box[0], left : left + box[1]]
    window[inside[:, : window.shape[1]]] = value


def paint_circle(labels: Labels, centre: Points, edge: Points, value: int) -> None:
    """Set the pixels whose centre is at most as far from `centre` as `edge`, (x, y), in place."""
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    squared = (columns + 0.5 - centre[0]) ** 2 + (rows + 0.5 - centre[1]) ** 2
    labels[squared <= ((edge - centre) ** 2).sum()] = value


def _first_centre(position: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The first of `count` pixels whose centre does not lie before `position`."""
    return np.asarray(np.ceil(position - 0.5).clip(0, count).astype(np.intp))
