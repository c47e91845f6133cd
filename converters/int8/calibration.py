"""The calibration set of quantised files: training pictures on the model's grid."""

from __future__ import annotations

import numpy as np

from unet_edge.dataset import Dataset
from unet_edge.dataset.unlabelled import UnlabelledPictures
from unet_edge.images.decoding import grid_of
from unet_edge.images.placement import Pixels
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress


def calibration_grids(
    dataset: Dataset | UnlabelledPictures, spec: ModelSpec, *, count: int, seed: int = 0
) -> list[Pixels]:
    """Draw up to `count` training pictures with `seed`; returns grids, uint8 (H, W, 3).

    Training and the device use the same geometry, so the ranges on these grids are the ranges that
    the model meets on the device.
    """
    order = np.random.default_rng(seed).permutation(len(dataset.train))
    chosen = [dataset.train[index].image for index in order[:count]]
    return [grid_of(path, spec) for path in progress(chosen, "calibration set")]
