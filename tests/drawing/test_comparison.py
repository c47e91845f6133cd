import numpy as np
from PIL import Image

from unet_edge.drawing.comparison import compare
from unet_edge.masks.mask import Mask
from unet_edge.palette import default_palette
from unet_edge.spec import IGNORE

SIZE, PANEL, GAP, TITLE = 96, 480, 8, 22
CELL = PANEL // 3
ORANGE, BLUE, YELLOW, GREY = (213, 94, 0), (0, 130, 220), (240, 228, 66), (128, 128, 128)


def sheet(truth, prediction, classes=3):
    """A comparison of 3x3 blocks of labels; its four panels as arrays."""
    blocks = [
        np.kron(np.array(m, np.uint8), np.ones((32, 32), np.uint8)) for m in (truth, prediction)
    ]
    names = ("background", *(f"class {index}" for index in range(1, classes)))
    photo = Image.new("RGB", (SIZE, SIZE), (200, 200, 200))
    mask = Mask(blocks[1], names, default_palette(names))
    picture = np.asarray(compare(photo, blocks[0], mask, "a picture"))
    assert picture.shape == (TITLE + PANEL + GAP, 4 * PANEL + 5 * GAP, 3)
    return [
        picture[TITLE:, GAP + i * (PANEL + GAP) :][:PANEL, :PANEL].astype(int) for i in range(4)
    ]


def at(panel, row, column):
    """The colour in the middle of a block; the upper left one may be under the legend."""
    return panel[row * CELL + CELL // 2, column * CELL + CELL // 2]


def close(color, expected):
    return np.abs(color - np.array(expected)).max() <= 60  # a fifth of the photo shines through


TRUTH = [[0, 0, 0], [1, 1, 0], [2, IGNORE, 1]]
PREDICTED = [[0, 0, 0], [1, 0, 2], [1, 2, 1]]


def test_kinds_of_error_have_their_colours():
    differences = sheet(TRUTH, PREDICTED)[3]
    assert close(at(differences, 1, 1), ORANGE), "class 1 taken for class 0: missed"
    assert close(at(differences, 1, 2), BLUE), "class 0 taken for class 2: false"
    assert close(at(differences, 2, 0), YELLOW), "class 2 taken for class 1: mixed up"
    assert close(at(differences, 2, 1), GREY), "ignored"
    for row, column in ((1, 0), (2, 2), (0, 2)):
        grey = at(differences, row, column)
        assert grey.min() == grey.max() > 200, "right: the photo, pale"


def test_masks_are_laid_over_the_photo_and_ignored_pixels_are_grey():
    photo, true, predicted, _ = sheet(TRUTH, PREDICTED)
    palette = default_palette(("background", "b", "c"))
    for index, row, column in ((1, 1, 0), (2, 2, 0)):
        blend = (200 + np.array(palette[index])) / 2
        np.testing.assert_allclose(at(true, row, column), blend, atol=2)
    np.testing.assert_allclose(at(predicted, 2, 0), (200 + np.array(palette[1])) / 2, atol=2)
    assert (at(photo, 2, 1) == 200).all()
    assert (at(true, 1, 2) == 200).all(), "class 0 is clear"
    for panel in (true, predicted):
        assert close(at(panel, 2, 1), GREY)


def test_the_longer_edge_has_the_panels_size():
    truth = np.zeros((30, 1000), np.uint8)
    photo = Image.new("RGB", (1000, 30))
    picture = compare(photo, truth, Mask(truth, ("a", "b"), default_palette(("a", "b"))), "wide")
    assert picture.size == (4 * PANEL + 5 * GAP, TITLE + 14 + GAP)
