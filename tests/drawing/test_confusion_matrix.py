import numpy as np
import pytest

from unet_edge.drawing.confusion_matrix import _percent, _short, confusion_picture
from unet_edge.masks.metrics import Confusion


def picture(counts, classes=None):
    counts = np.array(counts, np.int64)
    names = classes or [f"class {index}" for index in range(len(counts))]
    return np.asarray(confusion_picture(Confusion(counts), names)).astype(int)


def has(pixels, color):
    return bool((pixels == color).all(-1).any())


def test_right_is_blue_wrong_is_orange_and_absent_is_grey():
    # Rows of 100 % right, 100 % wrong, and none.
    pixels = picture([[7, 0, 0], [5, 0, 0], [0, 0, 0]])
    blue, orange, grey = (8, 48, 107), (127, 39, 4), (200, 200, 200)
    assert has(pixels, blue)
    assert has(pixels, orange)
    assert has(pixels, grey)
    ys, xs = np.nonzero((pixels == blue).all(-1))
    below, across = np.nonzero((pixels == orange).all(-1))
    assert xs.min() == across.min(), "both in the column of what was predicted"
    assert ys.max() < below.min(), "in rows of what is true"
    assert not has(picture([[7, 0], [0, 5]]), orange)


def test_each_row_is_normalised_by_itself():
    # The same shares of a rare and a common class have the same colours.
    pixels = picture([[50, 50], [5_000_000, 5_000_000]])
    assert np.sum((pixels == (107, 174, 214)).all(-1)) > 2 * 60**2, "50 % right, twice"


@pytest.mark.parametrize(("classes", "edge"), [(2, 600), (20, 1500), (100, 1700), (254, 4200)])
def test_any_number_of_classes_fits(classes, edge):
    counts = np.eye(classes, dtype=np.int64) * 1000 + 3
    pixels = picture(counts, [f"a class with a long name, {index}" for index in range(classes)])
    assert max(pixels.shape) <= edge
    assert (pixels[0] == 255).all(), "nothing is cut at the margin"
    assert (pixels[:, -1] == 255).all()


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100"), (0.999999, "99.99"), (0.9942, "99.42"), (0.5, "50.0"), (0.00004, "<0.01")],
)
def test_a_share_is_not_rounded_to_0_or_100(share, text):
    assert _percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(950, "950"), (1234, "1.23k"), (45_600, "45.6k"), (789_000, "789k"), (32_200_000, "32.2M")],
)
def test_counts_are_short(count, text):
    assert _short(count) == text
