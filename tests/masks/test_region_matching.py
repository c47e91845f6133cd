"""Object-level figures, compared with plain loops and with cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from flood_fill import filled

from unet_edge.errors import ConfigError
from unet_edge.masks.region_matching import RegionMatches
from unet_edge.spec import IGNORE


def masks(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction side by side: digits are classes, `x` is ignored."""
    rows = [line.split() for line in text.strip().splitlines()]
    return tuple(
        np.array([[IGNORE if c == "x" else int(c) for c in row[side]] for row in rows], np.uint8)
        for side in (0, 1)
    )


def figures(truth: np.ndarray, prediction: np.ndarray, of_class: int = 1) -> dict[str, object]:
    names = ("0", "1", "2")
    return RegionMatches.of(truth, prediction, 3).to_dict(names)[str(of_class)]


def test_found_missed_and_false():
    truth, prediction = masks("""
        1100000 1100000
        1100000 1100000
        0000000 0000011
        0110000 0000011
        0110001 0000000
    """)
    assert figures(truth, prediction) == {
        "true": 3,
        "predicted": 2,
        "iou_0.5": {"found": 1, "missed": 2, "false": 1},
        "any_overlap": {"found": 1, "missed": 2, "false": 1},
    }


def test_regions_with_an_iou_of_one_half_touch_but_do_not_match():
    truth, prediction = masks("1111 1100")
    assert figures(truth, prediction) == {
        "true": 1,
        "predicted": 1,
        "iou_0.5": {"found": 0, "missed": 1, "false": 1},
        "any_overlap": {"found": 1, "missed": 0, "false": 0},
    }
    truth, prediction = masks("11110 11100")
    assert figures(truth, prediction)["iou_0.5"] == {"found": 1, "missed": 0, "false": 0}


def test_pixels_that_touch_at_a_corner_are_two_regions():
    truth, prediction = masks("""
        10 11
        01 11
    """)
    found = figures(truth, prediction)
    assert (found["true"], found["predicted"]) == (2, 1)
    assert found["any_overlap"] == {"found": 2, "missed": 0, "false": 0}


def test_a_region_of_the_wrong_class_is_false():
    truth, prediction = masks("1100 2200")
    assert figures(truth, prediction, 1)["any_overlap"] == {"found": 0, "missed": 1, "false": 0}
    assert figures(truth, prediction, 2)["any_overlap"] == {"found": 0, "missed": 0, "false": 1}


def test_ignored_pixels_do_not_count():
    truth, prediction = masks("1x00 1110")
    assert figures(truth, prediction)["iou_0.5"] == {"found": 0, "missed": 1, "false": 1}
    truth, prediction = masks("11x0 1110")
    assert figures(truth, prediction)["iou_0.5"] == {"found": 1, "missed": 0, "false": 0}
    mostly_ignored, prediction = masks("xx00 1110")
    assert figures(mostly_ignored, prediction)["predicted"] == 0


def test_an_object_in_a_wide_ignored_border_is_found():
    """PASCAL VOC draws such borders. Most of a prediction that covers one is ignored."""
    truth = np.zeros((30, 30), np.uint8)
    truth[5:25, 5:25] = IGNORE
    truth[10:20, 10:20] = 1
    prediction = np.zeros((30, 30), np.uint8)
    prediction[5:25, 5:25] = 1
    found = figures(truth, prediction)
    assert found["iou_0.5"] == {"found": 1, "missed": 0, "false": 0}
    assert found["any_overlap"] == {"found": 1, "missed": 0, "false": 0}


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ConfigError, match="cannot be compared"):
        RegionMatches.of(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)


def by_loops(truth: np.ndarray, prediction: np.ndarray, classes: int) -> list[list[int]]:
    counts = np.zeros((5, classes), int)
    ignored = {(int(r), int(c)) for r, c in np.argwhere(truth == IGNORE)}
    true = filled(truth)
    predicted = [
        (label, pixels - ignored)
        for label, pixels in filled(prediction)
        if any(pixels & other for of, other in true if of == label)
        or (pixels - ignored and 2 * len(pixels - ignored) >= len(pixels))
    ]
    for label, pixels in true:
        counts[0, label] += 1
        overlaps = [(pixels & other, pixels | other) for of, other in predicted if of == label]
        counts[2, label] += sum(len(a) > 0.5 * len(b) for a, b in overlaps)
        counts[3, label] += any(a for a, _ in overlaps)
    for label, pixels in predicted:
        counts[1, label] += 1
        counts[4, label] += any(pixels & other for of, other in true if of == label)
    return counts.tolist()


@pytest.mark.parametrize("seed", range(200))
def test_counts_are_those_of_plain_loops(seed):
    random = np.random.default_rng(seed)
    shape = random.integers(1, 12, 2)
    truth = random.choice(np.array([0, 1, 2, IGNORE], np.uint8), shape, p=(0.4, 0.3, 0.2, 0.1))
    # Mostly like the truth, since otherwise hardly any region would match.
    other = random.choice(np.array([0, 1, 2], np.uint8), shape)
    same = (random.random(shape) < 0.7) & (truth != IGNORE)
    prediction = np.where(same, truth, other)
    found = RegionMatches.of(truth, prediction, 3)
    assert [
        found.truth.tolist(),
        found.prediction.tolist(),
        found.matched.tolist(),
        found.touched_truth.tolist(),
        found.touched_prediction.tolist(),
    ] == by_loops(truth, prediction, 3)


def test_counts_add_up_over_pictures():
    one = masks("1100 1100")
    two = masks("1010 0001")
    total = RegionMatches.of(*one, 2) + RegionMatches.of(*two, 2)
    assert (total.truth[1], total.prediction[1], total.matched[1]) == (3, 2, 1)


def test_a_spiral_is_one_region():
    """The worst case for joining runs: one region whose runs meet along its full length."""
    size = 301
    spiral = np.zeros((size, size), np.uint8)
    row, column, step = 0, 0, (0, 1)
    spiral[0, 0] = 1
    for _ in range(size * size):
        ahead = (row + 2 * step[0], column + 2 * step[1])
        blocked = not (0 <= ahead[0] < size and 0 <= ahead[1] < size) or spiral[ahead]
        if blocked:
            step = (step[1], -step[0])
            ahead = (row + 2 * step[0], column + 2 * step[1])
            if not (0 <= ahead[0] < size and 0 <= ahead[1] < size) or spiral[ahead]:
                break
        row, column = row + step[0], column + step[1]
        spiral[row, column] = 1
    found = RegionMatches.of(spiral, spiral, 2)
    assert found.truth[1] == found.matched[1] == 1
