"""From scores to labels."""

import numpy as np
import pytest

from unet_edge.runtime.argmax import to_labels

DTYPES = [np.float32, np.uint8, np.int8]


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: t.__name__)
def test_labels_are_the_arg_max(classes, dtype):
    random = np.random.default_rng(0)
    if dtype is np.float32:
        scores = random.normal(size=(40, 50, classes)).astype(np.float32)
    else:
        limits = np.iinfo(dtype)
        scores = random.integers(limits.min, limits.max, (40, 50, classes), dtype, endpoint=True)
    before = scores.copy()
    labels = to_labels(scores)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, np.argmax(scores, axis=-1))
    assert np.array_equal(scores, before)


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: t.__name__)
def test_on_a_tie_the_first_class_wins_as_in_numpy(classes, dtype):
    # Every combination of three values, which has every tie.
    values = np.array([0, 1, 2], dtype)
    grid = np.stack(np.meshgrid(*[values] * classes, indexing="ij"), axis=-1)
    scores = grid.reshape(-1, 1, classes)
    assert np.array_equal(to_labels(scores), np.argmax(scores, axis=-1))


def test_extremes_and_infinities_are_compared_not_subtracted():
    # 0 - 255 would be 1 in uint8.
    for scores in (
        np.array([[[0, 255, 254]]], np.uint8),
        np.array([[[-128, 127, 0]]], np.int8),
        np.array([[[-np.inf, np.inf, 0]]], np.float32),
    ):
        assert to_labels(scores).tolist() == [[1]]


def test_scores_may_be_a_view_or_read_only():
    scores = np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32)
    scores.flags.writeable = False
    view = scores.transpose(1, 2, 0)  # channels first
    assert np.array_equal(to_labels(view), np.argmax(view, axis=-1))
