"""Shapes as pixels: a pixel belongs to a shape that contains its centre."""

from pathlib import Path

import numpy as np
import pytest

from unet_edge.dataset.shapes import (
    Place,
    blank,
    paint_circle,
    paint_polygon,
    read_object,
    to_points,
)
from unet_edge.errors import DataError

HERE = Place(Path("a.json"), "shape 3")


def painted(points, height=6, width=8):
    labels = np.zeros((height, width), np.uint8)
    paint_polygon(labels, np.array(points, np.float64), 1)
    return labels


def rectangle(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


@pytest.mark.parametrize(
    ("corners", "rows", "columns"),
    [
        ((2, 3, 7, 5), slice(3, 5), slice(2, 7)),
        ((0, 0, 8, 6), slice(0, 6), slice(0, 8)),
        ((2.4, 3.4, 7.4, 5.4), slice(3, 5), slice(2, 7)),  # centres lie at .5
        ((2.6, 3.6, 7.6, 5.6), slice(4, 6), slice(3, 8)),
        ((2.5, 3.5, 7.5, 5.5), slice(3, 5), slice(2, 7)),  # on the line: left and top are inside
        ((-9, -9, 3, 2), slice(0, 2), slice(0, 3)),
        ((5, 4, 99, 99), slice(4, 6), slice(5, 8)),
        ((20, 1, 30, 3), slice(0, 0), slice(0, 0)),  # beside the picture
        ((-30, 1, -20, 3), slice(0, 0), slice(0, 0)),
        ((2.6, 1, 3.4, 3), slice(0, 0), slice(0, 0)),  # between two columns of centres
    ],
)
def test_a_rectangle(corners, rows, columns):
    expected = np.zeros((6, 8), np.uint8)
    expected[rows, columns] = 1
    assert np.array_equal(painted(rectangle(*corners)), expected)
    assert np.array_equal(painted(rectangle(*corners)[::-1]), expected)  # either way round


def test_a_triangle():
    assert painted([(0, 0), (4, 4), (0, 4)], 4, 4).tolist() == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
    ]


def test_two_triangles_that_share_an_edge_cover_every_pixel_once():
    random = np.random.default_rng(0)
    for _ in range(50):
        a, b, c, d = random.uniform(0, 20, (4, 2))
        # On both sides of the line a-b.
        side = np.sign((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0])
        d = a + (b - a) / 2 - side * np.array([-(b - a)[1], (b - a)[0]]) / 2
        both = painted([a, b, c], 20, 20).astype(int) + painted([a, b, d], 20, 20)
        assert both.max() <= 1


def test_an_area_that_a_polygon_encloses_twice_is_outside():
    square, inner = rectangle(0, 0, 6, 6), rectangle(2, 2, 4, 4)
    labels = painted([*square, square[0], *inner, inner[0]], 6, 6)
    expected = np.ones((6, 6), np.uint8)
    expected[2:4, 2:4] = 0
    assert np.array_equal(labels, expected)


def test_painting_keeps_the_pixels_around():
    labels = np.full((4, 4), 7, np.uint8)
    paint_polygon(labels, np.array(rectangle(1, 1, 3, 3), float), 2)
    assert labels.tolist() == [[7, 7, 7, 7], [7, 2, 2, 7], [7, 2, 2, 7], [7, 7, 7, 7]]


def test_a_circle():
    labels = np.zeros((5, 5), np.uint8)
    paint_circle(labels, np.array([2.5, 2.5]), np.array([2.5, 4.5]), 3)
    assert (labels == 3).tolist() == [
        [False, False, True, False, False],
        [False, True, True, True, False],
        [True, True, True, True, True],
        [False, True, True, True, False],
        [False, False, True, False, False],
    ]


@pytest.mark.parametrize(
    ("flat", "says"),
    [
        ([1, 2, 3, 4], "at least 3 points"),
        ([1, 2, 3, 4, 5, 6, 7], "at least 3 points"),
        ([1, 2, 3, 4, 5, "6"], "two numbers"),
        ([1, 2, 3, 4, 5, True], "two numbers"),
        ([1, 2, 3, 4, 5, None], "two numbers"),
        ([1, 2, 3, 4, 5, float("nan")], "not finite"),
        ([1, 2, 3, 4, 5, 1e300], "expected at most 1000000 px"),
    ],
)
def test_malformed_points_are_refused(flat, says):
    with pytest.raises(DataError, match=rf"^a\.json: shape 3: .*{says}"):
        to_points(flat, HERE)


@pytest.mark.parametrize("size", [(0, 3), (3, -1), (2.0, 3), ("3", 3), (None, 3), (True, 3)])
def test_malformed_sizes_are_refused(size):
    with pytest.raises(
        DataError, match=r"shape 3: the size is .*; expected two positive whole numbers"
    ):
        blank(*size, HERE)


def test_a_size_that_does_not_fit_into_memory_is_refused():
    with pytest.raises(DataError, match="1000000x1000000 px; expected at most 178,956,970 px"):
        blank(10**6, 10**6, HERE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1]", r"a\.json holds a JSON list; expected an object"),
    ],
)
def test_a_file_without_a_json_object_is_refused(tmp_path, content, says):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_object(path)
    with pytest.raises(DataError, match=r"cannot read .*absent"):
        read_object(tmp_path / "absent.json")
