"""The calibration set: training pictures on the model's own grid, for quantised files."""

from __future__ import annotations

import numpy as np

from unet_edge.dataset import Dataset
from unet_edge.images.decoding import grid_of
from unet_edge.images.placement import Pixels
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress


def calibration_grids(
    dataset: Dataset, spec: ModelSpec, *, count: int, seed: int = 0
) -> list[Pixels]:
    """Up to `count` training pictures, drawn with `seed`, as grids uint8 (H, W, 3).

    They go through the geometry that training and the device use, so the ranges that int8 is
    scaled to are those that the model will meet.
    """
    order = np.random.default_rng(seed).permutation(len(dataset.train))
    chosen = [dataset.train[index].image for index in order[:count]]
    return [grid_of(path, spec) for path in progress(chosen, "calibration set")]
