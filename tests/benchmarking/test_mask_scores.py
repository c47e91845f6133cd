"""Scores of masks against other masks, with a real file whose masks the test changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_edge.benchmarking.mask_scores import MaskScores, score_masks
from unet_edge.evaluation.verification import ReferenceMask
from unet_edge.masks.boundary import boundary_band
from unet_edge.runtime.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter(bundle_path: Path) -> Segmenter:
    return Segmenter.open(bundle_path, file="model-float32.tflite", threads=1)


@pytest.fixture
def photo() -> Image.Image:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 255, (6, 6, 3), np.uint8))
    return coarse.resize((60, 50), Image.Resampling.BICUBIC)


def test_equal_masks(segmenter: Segmenter, photo: Image.Image) -> None:
    labels = segmenter.segment(photo).labels
    assert set(np.unique(labels)) == {0, 1}, "the picture must have a boundary"
    scores = score_masks(segmenter, [ReferenceMask("a", photo, labels)])
    assert scores == MaskScores(1.0, 1.0, 1.0, (1.0, 1.0), {"a": 1.0})


def test_changed_and_ignored_pixels(segmenter: Segmenter, photo: Image.Image) -> None:
    labels = segmenter.segment(photo).labels
    band = boundary_band(labels)
    far, near = np.argwhere(~band & (labels == 0))[0], np.argwhere(band & (labels == 0))[0]
    truth = labels.copy()
    truth[tuple(far)] = 1
    scores = score_masks(segmenter, [ReferenceMask("a", photo, truth)])
    assert scores is not None
    assert scores.agreement == pytest.approx(1 - 1 / 3000)
    # The changed pixel is a boundary of its own, in the reference's mask.
    new_band = boundary_band(truth)
    assert scores.boundary == pytest.approx(1 - 1 / np.count_nonzero(new_band))
    ones = np.count_nonzero(labels == 1)
    assert scores.class_iou == pytest.approx(((2999 - ones) / (3000 - ones), ones / (ones + 1)))
    assert scores.miou == pytest.approx(np.mean([iou for iou in scores.class_iou if iou]))

    truth = labels.copy()
    truth[tuple(near)] = 255
    whole = score_masks(segmenter, [ReferenceMask("a", photo, truth)])
    assert whole is not None
    assert (whole.agreement, whole.boundary) == (1.0, 1.0)


def test_the_worst_picture_and_pictures_without_labels(
    segmenter: Segmenter, photo: Image.Image
) -> None:
    labels = segmenter.segment(photo).labels
    worse = labels.copy()
    worse[:5] = 1 - worse[:5]
    nothing = np.full_like(labels, 255)
    scores = score_masks(
        segmenter,
        [
            ReferenceMask("same", photo, labels),
            ReferenceMask("worse", photo, worse),
            ReferenceMask("nothing", photo, nothing),
        ],
    )
    assert scores is not None
    assert scores.pictures == {"same": 1.0, "worse": 0.9}
    assert (scores.worst_picture, scores.worst, scores.agreement) == ("worse", 0.9, 0.95)
    assert score_masks(segmenter, [ReferenceMask("nothing", photo, nothing)]) is None


def test_classes_and_boundaries_that_do_not_occur(segmenter: Segmenter) -> None:
    grey = Image.new("RGB", (40, 30), (128, 128, 128))
    label = int(segmenter.segment(grey).labels[0, 0])
    flat = np.full((30, 40), label, np.uint8)
    scores = score_masks(segmenter, [ReferenceMask("flat", grey, flat)])
    assert scores is not None
    assert scores.boundary is None
    if scores.agreement == 1:
        assert scores.class_iou[1 - label] is None
