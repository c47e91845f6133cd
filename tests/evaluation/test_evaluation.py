import math

import numpy as np

from unet_edge.evaluation.evaluation import Evaluation, PictureScore
from unet_edge.masks.boundary import Boundary
from unet_edge.masks.metrics import Confusion
from unet_edge.masks.region_matching import RegionMatches

NAMES = ("sky", "tree", "road")


def evaluation(counts, pictures=()):
    return Evaluation(
        name="model.onnx",
        backend="onnxruntime",
        classes=NAMES,
        confusion=Confusion(np.array(counts, np.int64)),
        boundary=Boundary.empty(3),
        regions=RegionMatches.empty(3),
        pictures=tuple(PictureScore(name, miou, 1, 1, 9, ()) for name, miou in pictures),
    )


def test_the_worst_pictures_come_first_and_pictures_without_miou_last():
    pictures = [("b", 0.9), ("none", math.nan), ("c", 0.2), ("d", 0.9), ("e", 0.0)]
    ordered = evaluation(np.eye(3) * 5, pictures).worst_first
    assert [picture.name for picture in ordered] == ["e", "c", "b", "d", "none"]


def test_means_are_over_the_classes_that_occur():
    # sky: 6 of 8 found, 2 falsely predicted; tree: the same; road: does not occur.
    result = evaluation([[6, 2, 0], [2, 6, 0], [0, 0, 0]])
    assert result.means["iou"] == 0.6
    assert result.means["recall"] == result.means["precision"] == result.means["dice"] == 0.75
    assert math.isnan(result.means["boundary_f"])


class TestDoubts:
    def test_none_where_most_of_each_class_is_right(self):
        assert evaluation([[6, 5, 0], [4, 6, 0], [0, 0, 1]]).doubts == ()

    def test_two_classes_exchanged(self):
        (doubt,) = evaluation([[9, 0, 0], [0, 2, 3], [0, 7, 1]]).doubts
        assert doubt.startswith("most of tree is predicted as road and the other way round")
        assert "1 tree, 2 road" in doubt

    def test_one_confused_class_is_not_taken_for_exchanged_classes(self):
        assert evaluation([[9, 0, 0], [0, 2, 3], [0, 4, 4]]).doubts == ()

    def test_a_class_without_true_pixels(self):
        (doubt,) = evaluation([[9, 0, 0], [0, 5, 0], [0, 0, 0]]).doubts
        assert doubt.startswith("no pixel of any true mask is of class 2, road")
