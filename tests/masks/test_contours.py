"""Contours are exact, regions are connected by edges, and holes belong to their regions."""

import numpy as np
import pytest
from flood_fill import filled

from unet_edge.dataset.shapes import paint_polygon
from unet_edge.masks.contours import connected_regions


def mask(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def painted(ring, shape):
    labels = np.zeros(shape, np.uint8)
    paint_polygon(labels, ring.astype(np.float64), 1)
    return labels == 1


def connected(inside):
    """The reference: the regions of bool (H, W), found by flood fill."""
    return {pixels for label, pixels in filled(inside.astype(np.uint8)) if label}


def test_a_rectangle_has_four_corners():
    (region,) = connected_regions(mask(".....", ".###.", ".###.", "....."))
    assert region.outline.tolist() == [[1, 1], [4, 1], [4, 3], [1, 3]]
    assert (region.area, region.box, region.holes) == (6, (1, 1, 3, 2), ())


def test_a_region_may_fill_the_picture():
    (region,) = connected_regions(np.ones((3, 5), bool))
    assert region.outline.tolist() == [[0, 0], [5, 0], [5, 3], [0, 3]]


def test_an_empty_mask_has_no_regions():
    assert connected_regions(np.zeros((3, 5), bool)) == []


def test_pixels_that_touch_at_a_corner_are_two_regions():
    for rows in (("#.", ".#"), (".#", "#.")):
        assert [region.area for region in connected_regions(mask(*rows))] == [1, 1]


def test_holes_that_touch_at_a_corner_are_one_ring_of_the_same_area():
    (region,) = connected_regions(mask("####", "#.##", "##.#", "####"))
    assert region.area == 14
    assert len(region.holes) == 1


def test_an_island_in_a_hole_is_a_region_of_its_own():
    outer, inner = connected_regions(
        mask("#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######")
    )
    assert (outer.area, inner.area) == (24, 8)
    assert [hole.tolist() for hole in outer.holes] == [[[1, 1], [6, 1], [6, 6], [1, 6]]]
    assert [hole.tolist() for hole in inner.holes] == [[[3, 3], [4, 3], [4, 4], [3, 4]]]


def test_a_hole_belongs_to_the_region_around_it_past_other_holes():
    (first, second) = connected_regions(mask("#.#####", "#.#.#.#", "#.#####"))
    assert (len(first.holes), len(second.holes)) == (0, 2)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("cell", [1, 3])
def test_regions_of_random_masks_give_the_masks_back(share, cell):
    random = np.random.default_rng(round(10 * share))
    inside = np.kron(random.random((19, 23)) < share, np.ones((cell, cell), bool))
    found = connected_regions(inside)
    total = np.zeros(inside.shape, int)
    sets = set()
    for region in found:
        filled = painted(region.outline, inside.shape)
        for hole in region.holes:
            filled ^= painted(hole, inside.shape)
        left, top, width, height = region.box
        boxed = np.zeros_like(inside)
        boxed[top : top + height, left : left + width] = region.mask()
        assert np.array_equal(boxed, filled)
        assert region.area == filled.sum()
        rows, columns = np.nonzero(filled)
        assert region.box == (
            columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        )  # fmt: skip
        sets.add(frozenset((int(r), int(c)) for r, c in np.argwhere(filled)))
        total += filled
    assert np.array_equal(total, inside)
    assert sets == connected(inside)
