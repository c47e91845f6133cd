"""Rotation and elastic deformation of a picture and its labels, as Pillow mesh transforms.

The part of the picture that the view needs is scaled by the device's filter, and then sampled once,
bilinearly. Labels are sampled from the original mask, nearest, so that rounding twice does not
shift them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import FILTERS, Labels
from unet_edge.spec import IGNORE, ModelSpec

_CELLS = 8  # cells of an elastic deformation's grid, along each edge
_MARGIN = 2  # px around the sampled part, for the filter

_Quad = tuple[float, ...]
_Mesh = list[tuple[tuple[int, int, int, int], _Quad]]


@dataclass(frozen=True, eq=False)
class Warp:
    """A mapping of a view to a scaled picture.

    `corners`, float64 (n+1, n+1, 2), are the positions in the scaled picture, (y, x) px, of the
    corners of a grid over the view. `size` is the scaled picture's (height, width) px, `crop` the
    view's.
    """

    corners: NDArray[np.float64]
    size: tuple[int, int]
    crop: tuple[int, int]

    def picture(self, picture: Image.Image, spec: ModelSpec) -> Image.Image:
        """Return the view of an RGB or grey picture; the caller sets the padding."""
        low = np.maximum(np.floor(self.corners.min((0, 1))).astype(int) - _MARGIN, 0)
        high = np.minimum(np.ceil(self.corners.max((0, 1))).astype(int) + _MARGIN, self.size)
        if (low >= high).any():
            return Image.new(picture.mode, self.crop[::-1])
        ratio = np.array([picture.height, picture.width]) / self.size
        top, left = low * ratio
        bottom, right = np.minimum(high * ratio, (picture.height, picture.width))
        part = picture.resize(
            (int(high[1] - low[1]), int(high[0] - low[0])),
            FILTERS[spec.resample],
            box=(left, top, right, bottom),
        )
        mesh = self._mesh(self.corners - low)
        return part.transform(
            self.crop[::-1], Image.Transform.MESH, mesh, Image.Resampling.BILINEAR
        )

    def labels(self, labels: Labels) -> tuple[Labels, NDArray[np.bool_]]:
        """Return the view of a mask, uint8 (h, w), and which pixels are outside it, bool (h, w).

        Pixels outside are IGNORE.
        """
        both = Image.merge(
            "LA",
            [Image.fromarray(np.ascontiguousarray(labels)), Image.new("L", labels.shape[::-1])],
        )
        mesh = self._mesh(self.corners * (np.array(labels.shape) / self.size))
        view = np.asarray(
            both.transform(
                self.crop[::-1],
                Image.Transform.MESH,
                mesh,
                Image.Resampling.NEAREST,
                fillcolor=(IGNORE, 255),
            )
        )
        return view[..., 0], view[..., 1] > 0

    def _mesh(self, corners: NDArray[np.float64]) -> _Mesh:
        """Return each cell's box (left, top, right, bottom) and its corners' x, y, for Pillow.

        Corners are in counter-clockwise order, from the upper left one.
        """
        cells = len(corners) - 1
        rows, columns = ([round(edge * k / cells) for k in range(cells + 1)] for edge in self.crop)
        mesh: _Mesh = []
        for i in range(cells):
            for j in range(cells):
                if rows[i] == rows[i + 1] or columns[j] == columns[j + 1]:
                    continue  # the crop has fewer px than cells; Pillow would divide by zero
                cell_corners = [
                    corners[i, j],
                    corners[i + 1, j],
                    corners[i + 1, j + 1],
                    corners[i, j + 1],
                ]
                quad = tuple(float(value) for y, x in cell_corners for value in (x, y))
                mesh.append(((columns[j], rows[i], columns[j + 1], rows[i + 1]), quad))
        return mesh


def draw_warp(
    size: tuple[int, int],
    crop: tuple[int, int],
    rotation: float,
    elastic: float,
    random: np.random.Generator,
) -> Warp:
    """Draw a view of `crop` px of a picture scaled to `size`, both (height, width).

    The view is rotated by up to `rotation` degrees. Grid points are displaced by `elastic` px times
    a strength drawn for the view. Without rotation, a picture smaller than the crop is completely
    inside the view, and a larger one fills it.
    """
    cells = _CELLS if elastic else 1
    rows, columns = (
        np.array([round(edge * k / cells) for k in range(cells + 1)]) - edge / 2 for edge in crop
    )
    y, x = np.meshgrid(rows, columns, indexing="ij")
    angle = np.deg2rad(random.uniform(-rotation, rotation))
    centre = [
        edge / 2 + random.uniform(-1, 1) * abs(edge - crop_edge) / 2
        for edge, crop_edge in zip(size, crop, strict=True)
    ]
    corners = np.stack(
        [
            np.sin(angle) * x + np.cos(angle) * y + centre[0],
            np.cos(angle) * x - np.sin(angle) * y + centre[1],
        ],
        axis=-1,
    )
    if elastic:
        strength = elastic * random.random()
        corners = corners + random.normal(0, strength, corners.shape)
    return Warp(corners, size, crop)
