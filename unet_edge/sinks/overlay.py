"""Overlays of frames, drawn into their YUV planes: RGB would take several times as long.

Overlays look like `Mask.overlay`: half of each pixel's colour is its class's, a background stays
clear, and a legend in the corner names the classes. Its shares are rounded to whole percents,
because digits that change with each frame cannot be read.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import nearest_cells
from unet_edge.palette import CLEAR, Color, has_background
from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.yuv420 import Plane, even_size, planes_of, yuv420_copy
from unet_edge.spec import ModelSpec
from unet_edge.streams.yuv_colors import LUMA_SHARES, YuvColors

Legend = Literal["on", "none"]

OPACITY = 0.5


def overlay_frame(result: SegmentedFrame, legend: Legend = "on") -> Any:
    """Draw a frame's mask over it: an av.VideoFrame of format yuv420p.

    See `yuv420_copy` for its size, times and colours. Several threads may draw at once.
    """
    frame, colors = yuv420_copy(result.frame)
    planes = planes_of(frame)
    _blend_classes(planes, result.grid, colors)
    if legend == "on" and (rows := _legend_rows(result.grid)):
        width, height = result.grid.size
        if drawn := _legend((width, height), rows, colors):
            for plane, (alpha, values) in zip(planes, drawn, strict=True):
                corner = plane[: alpha.shape[0], : alpha.shape[1]]
                # Values hold their share already; + 127 rounds.
                corner[:] = (corner * (255 - alpha) + 127) // 255 + values
    return frame


def yuv_of(rgb: NDArray[np.uint8], colors: YuvColors) -> NDArray[np.uint8]:
    """RGB colours (..., 3) as Y, U, V in a matrix and range, uint8 (..., 3)."""
    red, blue = LUMA_SHARES[colors.matrix]
    r, g, b = np.moveaxis(rgb / 255.0, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    if colors.full_range:
        values = [255 * y, 255 * u + 128, 255 * v + 128]
    else:
        values = [219 * y + 16, 224 * u + 128, 224 * v + 128]
    stacked: NDArray[np.uint8] = np.clip(np.rint(np.stack(values, -1)), 0, 255).astype(np.uint8)
    return stacked


def _blend_classes(planes: list[Plane], grid: GridLabels, colors: YuvColors) -> None:
    table, covered = _class_colors(grid.spec, colors)
    drawn = covered[grid.labels]
    if not drawn.any():
        return
    width, height = grid.size
    rows = nearest_cells(drawn.shape[0], height)
    columns = nearest_cells(drawn.shape[1], width)
    # Only the rows that hold classes, in strips that fit the processor's cache. Each begins at an
    # even row, as 4:2:0 has one row of chroma for two of luma.
    filled = np.flatnonzero(np.any(drawn, axis=1).take(rows))
    first, last = int(filled[0]) // 2 * 2, int(filled[-1]) + 1
    step = max(2, _STRIP_PIXELS // width // 2 * 2)
    for channel, plane in enumerate(planes):
        scale = 1 if channel == 0 else 2
        wide = columns[::scale]
        values = table[channel][grid.labels].take(wide, axis=1)
        where = drawn.take(wide, axis=1)
        for top in range(first, last, step):
            cells = rows[top : min(top + step, last) : scale]
            part = plane[top // scale : top // scale + len(cells), : len(wide)]
            _mix(part, values.take(cells, axis=0), where.take(cells, axis=0))


_STRIP_PIXELS = 2**16


def _mix(part: Plane, values: Plane, where: Plane) -> None:
    """Replace bytes by their mean with `values`, where `where` is 255 and not 0."""
    # The mean without a wider type, rounded down, and the choice by bits: with the processor's
    # vectors, a quarter of the time of Pillow's paste with a mask.
    mean = (part & values) + ((part ^ values) >> 1)
    part ^= (part ^ mean) & where


@functools.lru_cache(maxsize=16)
def _class_colors(spec: ModelSpec, colors: YuvColors) -> tuple[NDArray[np.uint8], Plane]:
    """Y, U and V of each label (3, 256), and 255 for each label that is drawn (256,)."""
    table, covered = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    count = len(spec.classes)
    table[:count] = yuv_of(np.array(spec.palette, np.uint8), colors)
    covered[int(_has_background(spec)) : count] = 255
    return np.ascontiguousarray(table.T), covered


def _has_background(spec: ModelSpec) -> bool:
    return has_background(spec.classes) or spec.palette[0] == CLEAR


def _legend_rows(grid: GridLabels) -> tuple[tuple[Color, str], ...]:
    spec = grid.spec
    rows = list(zip(spec.palette, spec.classes, grid.shares(), strict=True))
    shown = rows[_has_background(spec) :]
    return tuple((color, f"{name} {_percent(share)}") for color, name, share in shown if share > 0)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "<1%"


# 128 of them have 6 MB at 1280x720, and hold every percentage of one class.
@functools.lru_cache(maxsize=128)
def _legend(
    size: tuple[int, int], rows: tuple[tuple[Color, str], ...], colors: YuvColors
) -> list[tuple[NDArray[np.uint16], Plane]]:
    """For each plane, the legend's alpha (h, w) and its values times alpha, from the corner."""
    from unet_edge.masks.legend import draw_legend, legend_box

    box = legend_box(size, rows)
    if box is None:
        return []
    # Drawn on black and on white, a pixel differs by what shows through. An odd side grows, as
    # the frame's may: there is always room.
    corners = [Image.new("RGB", even_size(box), color) for color in ("black", "white")]
    for corner in corners:
        draw_legend(corner, rows, size)
    black, white = (np.asarray(corner, np.int32) for corner in corners)
    alpha = np.clip(255 - (white - black)[..., 1], 0, 255)
    straight = np.clip(black * 255 // np.maximum(alpha, 1)[..., None], 0, 255).astype(np.uint8)
    yuv = yuv_of(straight, colors).astype(np.int32)
    drawn = []
    for channel in range(3):
        step = 1 if channel == 0 else 2
        cover = alpha[::step, ::step]
        values = (yuv[::step, ::step, channel] * cover + 127) // 255
        drawn.append((cover.astype(np.uint16), values.astype(np.uint8)))
    return drawn
