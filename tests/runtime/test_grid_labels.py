"""Labels on the model's grid."""

import numpy as np
import pytest

from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.spec import ModelSpec


@pytest.mark.parametrize("size", [(640, 480), (7, 11), (13, 5), (48, 32), (1, 1), (1921, 3)])
def test_shares_are_those_of_the_mask(size):
    spec = ModelSpec(32, 48, ("a", "b", "c"))
    labels = np.random.default_rng(sum(size)).integers(0, 3, (29, 48), np.uint8)
    grid = GridLabels(size, labels, spec)
    assert grid.shares() == tuple(grid.mask().coverage().values())
