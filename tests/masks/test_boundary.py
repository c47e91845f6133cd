import math

import numpy as np
import pytest

from unet_edge.errors import ConfigError
from unet_edge.masks.boundary import DIAGONAL_SHARE, Boundary
from unet_edge.spec import IGNORE

NAN = pytest.approx(math.nan, nan_ok=True)


def square(size, *, top=0, left=0, edge=4):
    """Class 1 as a square of `edge` px on class 0."""
    labels = np.zeros((size, size), np.uint8)
    labels[top : top + edge, left : left + edge] = 1
    return labels


def by_hand(truth, prediction, classes, tolerance):
    """Counts by the definition: (truth, prediction, matched truth, matched prediction)."""
    height, width = truth.shape
    ignored = truth == IGNORE

    def contour_of(labels):
        pixels = []
        for y, x in np.ndindex(height, width):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if not inside or ignored[y, x] or ignored[v, u]:
                    continue
                if labels[v, u] != labels[y, x]:
                    pixels.append((y, x, int(labels[y, x])))
                    break
        return pixels

    def near(y, x, others):
        return any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 + 1e-9 for v, u, *_ in others)

    sides = [contour_of(truth), contour_of(prediction)]
    hidden = list(zip(*np.nonzero(ignored), strict=True))
    counts = np.zeros((4, classes), np.int64)
    for side, (contour, other) in enumerate((sides, sides[::-1])):
        for y, x, label in contour:
            if not near(y, x, hidden):
                counts[side, label] += 1
                counts[side + 2, label] += near(y, x, [p for p in other if p[2] == label])
    return counts.tolist()


def counts(boundary):
    return [
        boundary.truth.tolist(),
        boundary.prediction.tolist(),
        boundary.matched_truth.tolist(),
        boundary.matched_prediction.tolist(),
    ]


def test_a_square_moved_by_two_pixels():
    # A 4x4 square has 12 pixels on its edge, and 16 background pixels touch it from outside.
    truth, moved = square(12, top=3, left=3), square(12, top=3, left=5)
    exact = Boundary.of(truth, moved, 2, tolerance=0)
    # Edge pixels in both, class 1: rows 3 and 6 of columns 5 and 6, and nothing else (rows 4 and
    # 5 of those columns are an inside and an edge). Class 0: columns 5 and 6 above and below.
    assert counts(exact) == [[16, 12], [16, 12], [4, 4], [4, 4]]
    assert exact.precision == exact.recall == exact.f_score == (4 / 16, 4 / 12)
    # One pixel: columns 4 to 7 of rows 3 and 6 (8), and (4, 6), (5, 6) beside (4, 5), (5, 5).
    assert Boundary.of(truth, moved, 2, tolerance=1).matched_truth[1] == 8
    assert Boundary.of(truth, moved, 2, tolerance=2).f_score == (1.0, 1.0)


@pytest.mark.parametrize(
    ("tolerance", "matched"), [(2, 0), (2.2, 0), (math.sqrt(5), 1), (2.3, 1), (10**6, 1)]
)
def test_the_distance_is_euclidean_and_the_tolerance_included(tolerance, matched):
    # Single pixels, (1, 2) apart.
    truth, prediction = square(9, top=3, left=3, edge=1), square(9, top=4, left=5, edge=1)
    boundary = Boundary.of(truth, prediction, 2, tolerance)
    assert boundary.matched_truth[1] == boundary.matched_prediction[1] == matched


def test_the_default_tolerance_is_a_share_of_the_diagonal():
    # 300 x 400 px: the diagonal is 500, 0.75 % of it are 3.75 px.
    assert DIAGONAL_SHARE == 0.0075
    truth = np.zeros((300, 400), np.uint8)
    truth[:, 200:] = 1
    for shift, found in ((3, 300), (4, 0)):
        moved = np.zeros_like(truth)
        moved[:, 200 + shift :] = 1
        assert Boundary.of(truth, moved, 2).matched_truth.tolist() == [found, found]


def test_the_edge_of_the_picture_is_not_a_boundary():
    full = np.ones((5, 5), np.uint8)
    assert counts(Boundary.of(full, full, 2, 1)) == [[0, 0]] * 4


def test_precision_is_of_the_prediction_and_recall_of_the_truth():
    # The prediction has the square and another one far away.
    truth = square(30, top=5, left=5)
    prediction = truth | square(30, top=20, left=20)
    boundary = Boundary.of(truth, prediction, 2, tolerance=1)
    assert boundary.recall == (1.0, 1.0)
    assert boundary.precision == (0.5, 0.5)
    assert boundary.f_score == pytest.approx((2 / 3, 2 / 3))


def test_a_class_with_a_boundary_in_only_one_mask_scores_0():
    boundary = Boundary.of(square(8, top=2, left=2), np.zeros((8, 8), np.uint8), 3, 1)
    assert boundary.f_score == (0.0, 0.0, NAN)
    assert boundary.precision == (NAN, NAN, NAN)
    assert boundary.recall == (0.0, 0.0, NAN)


class TestIgnored:
    def test_pixels_make_no_boundary(self):
        truth = np.zeros((10, 20), np.uint8)
        truth[:, 8:] = IGNORE
        # Whatever the prediction says among them, and at their border.
        prediction = np.zeros((10, 20), np.uint8)
        prediction[:, 8:14] = 1
        assert counts(Boundary.of(truth, prediction, 2, 1)) == [[0, 0]] * 4

    def test_a_boundary_close_to_them_is_not_counted_but_matches(self):
        truth = np.zeros((1, 20), np.uint8)
        truth[0, 10:15] = 1  # the contour is between columns 9 and 10
        truth[0, 15:] = IGNORE
        prediction = np.zeros((1, 20), np.uint8)
        prediction[0, 12:] = 1  # between 11 and 12
        boundary = Boundary.of(truth, prediction, 2, tolerance=3)
        # Columns from 12 on are within 3 px of column 15. So the prediction's pixel of class 1, in
        # column 12, is not counted, but it matches the truth's, in column 10.
        assert counts(boundary) == [[1, 1], [1, 0], [1, 1], [1, 0]]
        assert boundary.f_score == (1.0, 1.0), "all that was counted is matched"

    def test_without_counted_contours_there_is_no_figure(self):
        truth = square(20, top=5, left=5, edge=10)
        prediction = truth.copy()
        truth[(truth == 1) & (square(20, top=6, left=6, edge=8) == 0)] = IGNORE
        assert Boundary.of(truth, prediction, 2, tolerance=1).f_score == (NAN, NAN)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (13, 29), (30, 17)])
@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3.7, 50])
def test_counts_are_those_of_the_definition(shape, tolerance):
    random = np.random.default_rng(0)
    for ignored in (0, 0.02):
        coarse = random.integers(0, 4, (2, *(edge // 3 + 1 for edge in shape))).astype(np.uint8)
        fine = coarse.repeat(3, axis=1).repeat(3, axis=2)[:, : shape[0], : shape[1]]
        truth, prediction = fine[0].copy(), fine[1]
        prediction = np.where(random.random(shape) < 0.6, truth, prediction).astype(np.uint8)
        truth[random.random(shape) < ignored] = IGNORE
        found = counts(Boundary.of(truth, prediction, 4, tolerance))
        assert found == by_hand(truth, prediction, 4, tolerance)


def test_counts_add_up_over_pictures():
    first = Boundary.of(square(12, top=3, left=3), square(12, top=3, left=5), 2, 0)
    second = Boundary.of(square(12, top=3, left=3), square(12, top=3, left=3), 2, 0)
    total = Boundary.empty(2) + first + second
    assert counts(total) == [[32, 24], [32, 24], [20, 16], [20, 16]]
    assert total.f_score == (20 / 32, 16 / 24)


@pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf])
def test_a_wrong_tolerance_is_refused(tolerance):
    with pytest.raises(
        ConfigError, match=r"boundary tolerance is .* px; it must be finite and at least 0"
    ):
        Boundary.of(square(8), square(8), 2, tolerance)


def test_masks_of_different_sizes_cannot_be_compared():
    with pytest.raises(ConfigError, match=r"\(8, 8\) and \(9, 9\) cannot be compared"):
        Boundary.of(square(8), square(9), 2)
