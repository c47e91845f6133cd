import math

import numpy as np
import pytest

from unet_edge.errors import ConfigError
from unet_edge.masks.metrics import Confusion, class_mean
from unet_edge.spec import IGNORE


def labels(*rows):
    return np.array(rows, np.uint8)


# One pixel each of (truth, prediction) = (0,0) (0,1) (1,1) (1,1) (2,0), and one that is ignored.
TRUTH = labels([0, 0, 1], [1, 2, IGNORE])
PREDICTION = labels([0, 1, 1], [1, 0, 2])


def test_rows_are_truth_and_columns_prediction():
    counts = Confusion.of(TRUTH, PREDICTION, 3).counts
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert counts.dtype == np.int64


def test_figures_follow_from_the_counts():
    confusion = Confusion.of(TRUTH, PREDICTION, 3)
    assert confusion.pixels == 5
    assert confusion.accuracy == 3 / 5
    # Class 0: 1 hit, 2 in truth, 2 in prediction. Class 1: 2, 2, 3. Class 2: 0, 1, 0.
    assert confusion.iou == (1 / 3, 2 / 3, 0.0)
    assert confusion.dice == (2 / 4, 4 / 5, 0.0)
    assert confusion.precision == (1 / 2, 2 / 3, 0.0)
    assert confusion.recall == (1 / 2, 1.0, 0.0)
    assert confusion.miou == pytest.approx(1 / 3, abs=1e-15)  # one rounding of the mean


def test_pixels_of_the_ignored_label_do_not_count_whatever_was_predicted():
    truth = np.full((3, 3), IGNORE, np.uint8)
    assert Confusion.of(truth, np.ones((3, 3), np.uint8), 2).pixels == 0


def test_a_class_in_neither_mask_is_nan_and_not_in_the_mean():
    confusion = Confusion.of(labels([0, 1]), labels([0, 1]), 3)
    assert confusion.iou[:2] == confusion.dice[:2] == (1.0, 1.0)
    assert math.isnan(confusion.iou[2])
    assert math.isnan(confusion.dice[2])
    assert confusion.miou == 1.0


def test_a_class_in_only_one_mask_scores_0_in_every_figure():
    # Class 1 is never predicted and class 2 never true: both count in every mean.
    confusion = Confusion.of(labels([0, 1, 0]), labels([0, 0, 2]), 4)
    for figures in (confusion.iou, confusion.dice, confusion.precision, confusion.recall):
        assert figures[1:3] == (0.0, 0.0)
        assert math.isnan(figures[3])
    assert confusion.precision[0] == confusion.recall[0] == 1 / 2


def test_a_mean_is_over_the_classes_that_have_a_figure():
    assert class_mean((0.5, math.nan, 0.25)) == 0.375
    assert math.isnan(class_mean((math.nan,)))


def test_without_pixels_there_is_no_figure():
    empty = Confusion.empty(2)
    assert empty.pixels == 0
    assert math.isnan(empty.accuracy)
    assert math.isnan(empty.miou)


def test_figures_of_a_data_set_do_not_depend_on_how_it_was_batched():
    truth = np.arange(60, dtype=np.uint8).reshape(6, 10) % 3
    prediction = (np.arange(60, dtype=np.uint8).reshape(6, 10) * 7 // 5) % 3
    whole = Confusion.of(truth, prediction, 3)
    for cut in (1, 2, 5):
        parts = [
            Confusion.of(truth[rows], prediction[rows], 3)
            for rows in (slice(0, cut), slice(cut, None))
        ]
        assert np.array_equal((parts[0] + parts[1]).counts, whole.counts)
    assert np.array_equal((Confusion.empty(3) + whole).counts, whole.counts)


def test_counts_of_many_classes_do_not_overflow_the_labels_type():
    # 200 * 254 + 200 does not fit in uint8, the type of the labels.
    truth = np.full((2, 2), 200, np.uint8)
    counts = Confusion.of(truth, truth, 254).counts
    assert counts[200, 200] == counts.sum() == 4


def test_masks_of_different_sizes_cannot_be_compared():
    with pytest.raises(ConfigError, match=r"\(2, 3\) and \(3, 2\) cannot be compared"):
        Confusion.of(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [([0, 2], [0, 1]), ([0, 1], [0, 2]), ([0, 1], [0, IGNORE])],
    ids=["truth", "prediction", "ignored prediction"],
)
def test_a_label_outside_the_classes_is_refused_not_counted_as_another(truth, prediction):
    # (0, 2) of two classes would be counted as (1, 0).
    with pytest.raises(ConfigError):
        Confusion.of(labels(truth), labels(prediction), 2)
