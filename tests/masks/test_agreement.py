"""Agreement: shares of equal pixels, of each picture and of all pixels together."""

import math

import numpy as np
import pytest

from unet_edge.errors import ConfigError
from unet_edge.masks.agreement import Agreement


def test_pictures_count_by_their_pixels_and_the_first_of_the_worst_is_named():
    agreement = Agreement()
    agreement.add("large", np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8))
    agreement.add("half", np.array([[0, 1]], np.uint8), np.array([[0, 2]], np.uint8))
    agreement.add("other half", np.array([[3], [1]], np.uint8), np.array([[2], [1]], np.uint8))
    assert agreement.names == ["large", "half", "other half"]
    assert agreement.shares == [1.0, 0.5, 0.5]
    assert agreement.share == 102 / 104  # the mean of the pictures would be 2 / 3
    assert (agreement.worst_picture, agreement.worst) == ("half", 0.5)


def test_without_pictures_there_is_no_share():
    assert math.isnan(Agreement().share)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"\(1, 4\) and \(4, 1\) cannot be compared"):
        Agreement().add("turned", np.zeros((4, 1), np.uint8), np.zeros((1, 4), np.uint8))
