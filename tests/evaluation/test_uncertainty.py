"""Uncertainty of pixels against values computed by hand, and what a picture's score counts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unet_edge.errors import BackendError
from unet_edge.evaluation.uncertainty import (
    Uncertainty,
    pixel_uncertainty,
    require_measure,
    uncertainty,
)
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec


class Brightness:
    """A model of two classes: the logit of the second is the red channel, 0 to 255, over 50."""

    name = "brightness"
    quantisation = None

    def scores(self, pixels):
        red = pixels[..., 0].astype(np.float32)
        return np.stack([np.zeros_like(red), red / 50], axis=-1)

    def labels(self, pixels):
        return to_labels(self.scores(pixels))


class LeftHalf(Brightness):
    """A model that calls the left half of whatever it sees class 1."""

    def scores(self, pixels):
        scores = np.zeros((*pixels.shape[:2], 2), np.float32)
        scores[:, : pixels.shape[1] // 2, 1] = 9
        return scores


def logits_of(*probabilities: float) -> np.ndarray:
    return np.log(np.array([[probabilities]], np.float32))


def segmenter_of(backend, **spec) -> Segmenter:
    return Segmenter(ModelSpec(4, 4, ("background", "cat"), **spec), backend, "model")


@pytest.mark.parametrize(
    ("probabilities", "margin", "entropy"),
    [
        ((0.5, 0.5), 1.0, 1.0),
        ((0.7, 0.2, 0.1), 0.5, 0.729847),  # -(.7 ln .7 + .2 ln .2 + .1 ln .1) / ln 3
        ((0.1, 0.2, 0.7), 0.5, 0.729847),
        ((0.25, 0.25, 0.25, 0.25), 1.0, 1.0),
        ((0.5, 0.5, 1e-30, 1e-30), 1.0, 0.5),  # ln 2 / ln 4
    ],
)
def test_margin_and_entropy_are_those_computed_by_hand(probabilities, margin, entropy):
    logits = logits_of(*probabilities)
    # 2e-6: some ten float32 operations of values up to 1, each rounded by at most 6e-8.
    assert pixel_uncertainty(logits, "margin")[0, 0] == pytest.approx(margin, abs=2e-6)
    assert pixel_uncertainty(logits, "entropy")[0, 0] == pytest.approx(entropy, abs=5e-6)


def test_scores_far_apart_are_sure_and_not_nan():
    logits = np.array([[[-1e4, 1e4, 0]]], np.float32)
    assert pixel_uncertainty(logits, "margin")[0, 0] == 0
    assert pixel_uncertainty(logits, "entropy")[0, 0] == 0


def test_a_score_is_the_mean_or_the_share_of_unsure_pixels():
    values = np.array([[0.1, 0.5], [0.6, 1.0]], np.float32)
    of = Uncertainty((2, 2), np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), values)
    assert of.score("mean") == pytest.approx(0.55)
    assert of.score("share") == 0.5  # 0.5 itself is not above it


def test_padding_does_not_count():
    """Padding is black, on which this model is as unsure as can be."""
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    found = uncertainty(segmenter_of(Brightness()), wide, "margin")
    assert found.values.shape == found.labels.shape == (2, 4)
    assert found.size == (40, 20)
    sure = 1 - np.tanh(255 / 50 / 2)  # of two classes, p1 - p2 is tanh of half their distance
    assert found.score() == pytest.approx(sure, abs=1e-6)


def test_flips_is_the_share_of_pixels_that_the_mirror_image_labels_otherwise():
    picture = Image.new("RGB", (4, 4))
    assert uncertainty(segmenter_of(LeftHalf()), picture, "flips").score() == 1
    left = np.zeros((4, 4, 3), np.uint8)
    left[:, 0] = 255
    found = uncertainty(segmenter_of(Brightness()), Image.fromarray(left), "flips")
    assert found.score() == 0  # each pixel counts alone, so the mask is mirrored too
    assert found.labels[:, 0].all()
    assert not found.labels[:, 1:].any()


def test_a_mirrored_mask_is_mirrored_back_in_a_padded_grid():
    """3 px of 4 are filled, so padding is on one side only, and mirroring moves the photo."""
    photo = np.zeros((4, 3, 3), np.uint8)
    photo[:, 2] = 255
    found = uncertainty(segmenter_of(Brightness()), Image.fromarray(photo), "flips")
    assert found.values.shape == (4, 3)
    assert found.score() == 0


def test_a_file_of_labels_can_be_ranked_by_flips_only():
    segmenter = segmenter_of(Brightness(), output="labels")
    require_measure(segmenter, "flips")
    with pytest.raises(BackendError, match="margin needs scores; choose --by flips"):
        require_measure(segmenter, "margin")
