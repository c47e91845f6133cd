"""A contact sheet: small photos with the outlines of their masks, each beside a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.drawing.image_grid import image_grid
from unet_edge.images.placement import Labels, Pixels, resize_labels
from unet_edge.palette import Color

_EDGE = 176  # longer edge of a photo, px
_COLUMNS = 5

# Inferno, of matplotlib (CC0), at five of its 256 steps: its brightness rises evenly, so that it
# can be read without colours too.
_HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


@dataclass(frozen=True, eq=False)
class SheetPhoto:
    """A photo of a sheet.

    `size` is its (width, height) px, of which the sheet takes the shape. `pixels` is uint8
    (h, w, 3), `labels` uint8 (h, w) and `heat` float32 (h, w) of 0..1, at any common size.
    """

    title: str
    value: str
    size: tuple[int, int]
    pixels: Pixels
    labels: Labels
    heat: NDArray[np.float32]


def contact_sheet(photos: Sequence[SheetPhoto], palette: Sequence[Color]) -> Image.Image:
    """Draw photos, five in a row, in RGB; outlines have the colours of the palette.

    The title stands above the photo, the value above its heat map, which goes from black (0) over
    red to light yellow (1).
    """
    cells = [_cell(photo, palette) for photo in photos]
    columns = min(_COLUMNS, len(cells))
    empty = Image.new("RGB", (1, 1), "white")
    cells += [empty] * (-len(cells) % columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return image_grid(rows, [""] * columns)


def _cell(photo: SheetPhoto, palette: Sequence[Color]) -> Image.Image:
    factor = _EDGE / max(photo.size)
    width, height = (max(1, round(edge * factor)) for edge in photo.size)
    small = Image.fromarray(photo.pixels).resize((width, height), Image.Resampling.BILINEAR)
    outlined = _outlined(np.array(small), resize_labels(photo.labels, height, width), palette)
    heat = Image.fromarray(heat_colors(photo.heat)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return image_grid([[Image.fromarray(outlined), heat]], [photo.title, photo.value])


def _outlined(pixels: Pixels, labels: Labels, palette: Sequence[Color]) -> Pixels:
    """Draw the borders between classes into pixels, 2 px wide, in the colour of the higher one."""
    colors = np.array(palette, np.uint8)
    for axis in (0, 1):
        before, after = (_cut(labels, part, axis) for part in (slice(None, -1), slice(1, None)))
        border = before != after
        drawn = colors[np.minimum(np.maximum(before, after)[border], len(colors) - 1)]
        for part in (slice(None, -1), slice(1, None)):
            _cut(pixels, part, axis)[border] = drawn
    return pixels


def _cut(array: NDArray[Any], part: slice, axis: int) -> NDArray[Any]:
    return array[part] if axis == 0 else array[:, part]


def heat_colors(values: NDArray[np.float32]) -> Pixels:
    """The colours of values of 0..1, float32 (h, w): uint8 (h, w, 3)."""
    place = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(values, place, _HEAT[:, channel]) for channel in range(3)]
    colors: Pixels = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colors
