"""Run lengths as pycocotools writes and reads them."""

import numpy as np
import pytest

from unet_edge.masks.run_length import format_runs, mask_to_runs, parse_runs, runs_to_mask

# Encoded by pycocotools 2.0.
SMALL = (
    "=33NN022005",
    np.array(
        [
            [0, 0, 0, 0, 0, 0, 0],
            [0, 0, 1, 1, 1, 1, 0],
            [0, 0, 1, 0, 1, 1, 0],
            [0, 0, 1, 1, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0],
        ]
    ),
)


def large():
    mask = np.zeros((40, 50), int)
    mask[5:30, 10:45] = 1
    mask[8, 3] = 1
    mask[33:36, 20:22] = 1
    return mask


LARGE = "P41d8h0kG0000000000000000000DZO6f0JZO6f060000000000000000000000000000000000000000000S6"


@pytest.mark.parametrize(("text", "mask"), [SMALL, (LARGE, large())], ids=["small", "large"])
def test_compressed_run_lengths(text, mask):
    assert np.array_equal(runs_to_mask(parse_runs(text), *mask.shape), mask)


def test_run_lengths_go_down_the_columns():
    mask = runs_to_mask([1, 2, 3], 3, 2)
    assert mask.astype(int).tolist() == [[0, 0], [1, 0], [1, 0]]


@pytest.mark.parametrize("runs", [[1, 2], [7], [], [-1, 7], [10**12]])
def test_run_lengths_that_do_not_add_up(runs):
    assert runs_to_mask(runs, 3, 2) is None


@pytest.mark.parametrize("text", ["P", "5 5", "ü", "oooooooooooooooooooooooo0"])
def test_damaged_run_lengths(text):
    assert parse_runs(text) is None


@pytest.mark.parametrize(("text", "mask"), [SMALL, (LARGE, large())], ids=["small", "large"])
def test_a_region_is_written_as_pycocotools_writes_it(text, mask):
    assert format_runs(mask_to_runs(mask == 1)) == text


@pytest.mark.parametrize(
    ("rows", "runs"),
    [
        ([[0, 0], [1, 0], [1, 0]], [1, 2, 3]),
        ([[1, 0], [0, 0]], [0, 1, 3]),  # the first run is outside, even if it is empty
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1], [0, 1]], [2, 2]),
    ],
)
def test_the_runs_of_a_region(rows, runs):
    assert mask_to_runs(np.array(rows, bool)) == runs


def test_random_masks_come_back():
    random = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.98):
        mask = random.random((37, 53)) < share
        runs = mask_to_runs(mask)
        assert parse_runs(format_runs(runs)) == runs
        assert np.array_equal(runs_to_mask(runs, *mask.shape), mask)


@pytest.mark.parametrize(
    "runs", [[0, 15, 16, 31, 32, 10**8], [10**8, 1, 2, 3, 10**7, 1], [1, 1, 1, 33, 1, 17]]
)
def test_differences_of_every_length_and_sign(runs):
    assert parse_runs(format_runs(runs)) == runs
