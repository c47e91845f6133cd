"""Masks as supervision's instances, drawn by supervision's own annotators."""

import sys

import numpy as np
import pytest
import supervision as sv

from unet_edge.errors import BackendError
from unet_edge.masks.mask import Mask

PALETTE = ((0, 0, 0), (250, 100, 20), (40, 200, 90))


def mask_of(*rows, classes=("background", "cat", "dog"), palette=PALETTE):
    return Mask(np.array([[*map(int, row)] for row in rows], np.uint8), classes, palette)


@pytest.fixture
def mask():
    """A cat in two parts, a dog of one pixel, and a background."""
    return mask_of("0000000", "0110020", "0110000", "0000110", "0000110")


def test_an_instance_for_each_class_but_the_background(mask):
    found = mask.detections()
    assert found.class_id.tolist() == [1, 2]
    assert found["class_name"].tolist() == ["cat", "dog"]
    assert found.mask.dtype == bool
    assert np.array_equal(found.mask, [mask.labels == 1, mask.labels == 2])
    # supervision's boxes hold their last row and column.
    assert found.xyxy.tolist() == [[1, 1, 5, 4], [5, 1, 5, 1]]
    assert found.confidence is None
    assert found.area.tolist() == [8, 1]


def test_an_instance_for_each_connected_region(mask):
    found = mask.detections(regions=True)
    assert found.class_id.tolist() == [1, 1, 2]
    assert found.xyxy.tolist() == [[1, 1, 2, 2], [4, 3, 5, 4], [5, 1, 5, 1]]
    assert np.array_equal(found.mask.sum(axis=0) > 0, mask.labels > 0)
    hole = mask_of("111", "101", "111").detections(regions=True)
    assert np.array_equal(hole.mask[0], [[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def test_classes_without_a_background_are_all_instances():
    streets = mask_of("01", classes=("road", "car", "sky"), palette=((9, 9, 9), *PALETTE[1:]))
    assert streets.detections()["class_name"].tolist() == ["road", "car"]


def test_a_mask_of_background_has_no_instance():
    assert len(mask_of("00", "00").detections()) == 0
    assert len(mask_of("00", "00").detections(regions=True)) == 0


def test_ignored_pixels_belong_to_no_instance():
    ignored = Mask(np.array([[255, 1]], np.uint8), ("background", "cat"), PALETTE[:2])
    assert ignored.detections().mask.tolist() == [[[False, True]]]


def test_the_mask_annotator_paints_our_pixels_in_our_colours(mask):
    scene = np.full((5, 7, 3), (100, 120, 140), np.uint8)  # B, G, R
    palette = sv.ColorPalette([sv.Color(*color) for color in mask.palette])
    painted = sv.MaskAnnotator(palette, opacity=0.5).annotate(scene.copy(), mask.detections())
    for label, color in enumerate(PALETTE):
        here = painted[mask.labels == label].astype(int)
        expected = (scene[0, 0] + np.array(color[::-1])) / 2 if label else scene[0, 0]
        # Half of a sum may be rounded either way.
        assert np.abs(here - expected).max() <= 0.5


def test_the_label_annotator_writes_our_names():
    large = Mask(np.zeros((120, 200), np.uint8), ("background", "cat"), PALETTE[:2])
    large.labels[60:110, 20:180] = 1
    scene = np.zeros((120, 200, 3), np.uint8)
    annotator = sv.LabelAnnotator()
    written = annotator.annotate(scene.copy(), large.detections())
    assert written.any()
    assert np.array_equal(written, annotator.annotate(scene.copy(), large.detections(), ["cat"]))
    other = annotator.annotate(scene.copy(), large.detections(), ["dog"])
    assert not np.array_equal(written, other)


def test_without_supervision_the_error_says_how_to_install_it(mask, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(BackendError, match="run: pip install supervision"):
        mask.detections()
