"""Labels on the model's grid, before they are brought to a picture's own size."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from unet_edge.images.placement import Labels, nearest_cells, resize_labels
from unet_edge.masks.mask import Mask
from unet_edge.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class GridLabels:
    """The labels of one picture on the model's grid.

    `size` is the photo's (width, height) px. `labels` is uint8 (h, w), the part of the grid that
    the photo fills. Pixel (x, y) of the photo has the label of the cell that holds its centre.
    """

    size: tuple[int, int]
    labels: Labels
    spec: ModelSpec

    def mask(self) -> Mask:
        """The mask at the photo's own size."""
        width, height = self.size
        return Mask.of(resize_labels(self.labels, height, width), self.spec)

    def shares(self) -> tuple[float, ...]:
        """Share of the photo, 0..1, that each class covers: that of `mask`, without drawing it."""
        return self._shares

    @functools.cached_property  # tables, legends and messages ask for them
    def _shares(self) -> tuple[float, ...]:
        width, height = self.size
        rows, columns = (
            np.bincount(nearest_cells(cells, pixels), minlength=cells)
            for cells, pixels in zip(self.labels.shape, (height, width), strict=True)
        )
        pixels = np.outer(rows, columns).ravel()  # of each cell
        counts = np.bincount(self.labels.ravel(), pixels, minlength=256)
        return tuple((counts[: len(self.spec.classes)] / (width * height)).tolist())
