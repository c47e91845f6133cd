import collections

import numpy as np
import pytest
from PIL import Image

from unet_edge.training.orientation import Orientation, draw_orientation

EIGHT = [Orientation(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
LABELS = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7)  # every pixel another value


@pytest.mark.parametrize("orientation", EIGHT, ids=str)
class TestEachOfTheEight:
    def test_a_picture_is_turned_as_its_labels_are(self, orientation):
        turned = orientation.of_picture(Image.fromarray(LABELS))
        assert np.array_equal(np.asarray(turned), orientation.of_labels(LABELS))
        assert turned.size == orientation.turned((7, 5))

    def test_a_box_of_the_turned_picture_is_found_in_the_picture(self, orientation):
        box = (1, 0, 4, 3)  # no symmetry would hide a wrong side
        picture = Image.fromarray(LABELS)
        turned = orientation.of_picture(picture)
        before = picture.crop(orientation.undone(box, turned.size))
        assert orientation.of_picture(before).tobytes() == turned.crop(box).tobytes()

    def test_labels_are_looked_up_as_in_the_turned_labels(self, orientation):
        turned = orientation.of_labels(LABELS)
        rows, columns = np.array([0, 0, 2, 4]), np.array([1, 3, 4])
        found = orientation.look_up(LABELS, rows, columns)
        assert np.array_equal(found, turned[rows[:, None], columns])


def test_the_eight_orientations_differ():
    assert len({one.of_labels(LABELS).tobytes() for one in EIGHT}) == 8


@pytest.mark.parametrize(
    ("any_turn", "mirror", "kinds"),
    [(False, False, 1), (False, True, 2), (True, False, 8), (True, True, 8)],
)
def test_those_that_are_asked_for_are_drawn_equally_often(any_turn, mirror, kinds):
    random = np.random.default_rng(0)
    drawn = collections.Counter(
        draw_orientation(any_turn=any_turn, mirror=mirror, random=random) for _ in range(400)
    )
    assert len(drawn) == kinds
    # Within five standard deviations of the binomial distribution.
    share = 1 / kinds
    for count in drawn.values():
        assert abs(count - 400 * share) <= 5 * np.sqrt(400 * share * (1 - share))
