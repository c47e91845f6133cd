"""Balanced class weights, counted by hand."""

import numpy as np
import pytest
from PIL import Image

from unet_edge.dataset import Dataset, MaskRule, Sample
from unet_edge.spec import IGNORE
from unet_edge.training.class_weights import balanced_weights


def dataset(root, *masks, classes=3):
    """A data set whose training masks are rows of labels; the validation mask is all class 2."""
    samples = []
    for number, row in enumerate([*masks, [2] * 8]):
        labels = np.array([row], np.uint8)
        image, mask = root / f"{number}.png", root / f"{number}.mask.png"
        Image.new("RGB", labels.shape[::-1]).save(image)
        Image.fromarray(labels).save(mask)
        samples.append(Sample(str(number), image, mask))
    names = tuple("abcdef"[:classes])
    return Dataset(root, tuple(samples[:-1]), tuple(samples[-1:]), MaskRule(), names)


def test_a_class_weighs_the_median_frequency_over_its_own(tmp_path):
    # Of the pixels of the pictures a class occurs in: a 5/8 and 4/8: 9/16; b 3/8 alone: 3/8;
    # c 4/8 alone: 1/2, which is the median.
    found = balanced_weights(dataset(tmp_path, [0] * 5 + [1] * 3, [0] * 4 + [2] * 4))
    assert found == pytest.approx((0.5 / (9 / 16), 0.5 / (3 / 8), 1), rel=1e-12)  # float64


def test_ignored_pixels_are_no_part_of_a_picture(tmp_path):
    # b: 1 of 4 pixels; a and c: 3 of 4 and 4 of 4.
    found = balanced_weights(dataset(tmp_path, [0] * 3 + [1] + [IGNORE] * 4, [2] * 4))
    assert found == pytest.approx((0.75 / 0.75, 0.75 / 0.25, 0.75 / 1), rel=1e-12)


def test_a_class_in_no_training_mask_weighs_one_and_moves_no_median(tmp_path):
    # a 3/4, b 1/4: their median is 1/2. The fourth class is nowhere, c in the validation mask.
    found = balanced_weights(dataset(tmp_path, [0, 0, 0, 1], classes=4))
    assert found == pytest.approx((0.5 / 0.75, 0.5 / 0.25, 1, 1), rel=1e-12)
