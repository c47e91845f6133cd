"""What goes into a segmenter and what comes out, with a backend whose scores are known."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from unet_edge.errors import BackendError, ConfigError
from unet_edge.imaging import grid_of, read_photo
from unet_edge.runtime.backends import as_scores, to_labels
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.smooth import probabilities, smooth_labels
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(8, 12, ("background", "cat"), pad_color=(0, 0, 0))


class Redness:
    """Scores a pixel by how much redder than blue it is, as a quantised file would."""

    name = "redness"
    quantisation = (0.125, 128)

    def scores(self, pixels):
        red, blue = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
        cat = (128 + (red - blue) // 2).astype(np.uint8)
        return np.stack((np.full_like(cat, 128), cat), axis=-1)

    def labels(self, pixels):
        return to_labels(self.scores(pixels))


class LabelsOnly(Redness):
    quantisation = None

    def scores(self, pixels):
        return as_scores(to_labels(super().scores(pixels)))


@pytest.fixture
def segmenter():
    return Segmenter(SPEC, Redness(), "redness")


@pytest.fixture
def photo():
    """Noise, as an array of RGB: 32x24 px, which leaves padding on the grid."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((32, 24), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("edges", ["nearest", "smooth"])
def test_rgb_bgr_and_pillow_pictures_give_one_mask(segmenter, photo, edges):
    expected = segmenter.segment(photo, edges=edges).labels
    assert 0.1 < expected.mean() < 0.9
    swapped = photo[..., ::-1]
    for mask in (
        segmenter.segment(swapped, color_order="bgr", edges=edges),
        segmenter.segment(Image.fromarray(photo), edges=edges),
        segmenter.predict(swapped, color_order="bgr").mask(edges),
    ):
        assert np.array_equal(mask.labels, expected)
    assert not np.array_equal(segmenter.segment(swapped, edges=edges).labels, expected)


def test_a_prediction_has_the_photos_part_of_the_grid_as_logits(segmenter, photo):
    prediction = segmenter.predict(photo)
    # 32x24 px fit 12x8 as 11x8: (2 * 32 * 8 + 24) // 48 columns.
    assert prediction.logits.shape == (8, 11, 2)
    assert prediction.logits.dtype == np.float32
    assert not prediction.logits[..., 0].any()  # 128 is the zero point
    assert np.abs(prediction.logits).max() > 4  # 1/8 of a difference of 64
    for edges in ("nearest", "smooth"):
        expected = probabilities(prediction.logits, 24, 32, edges)
        assert np.array_equal(prediction.probabilities(edges), expected)
    smooth = prediction.mask("smooth").labels
    assert np.array_equal(smooth, smooth_labels(prediction.logits, 24, 32))
    assert np.array_equal(prediction.mask().labels, segmenter.segment(photo).labels)
    assert not np.array_equal(smooth, prediction.mask().labels)


def test_a_file_is_reduced_by_its_decoder_and_the_mask_is_not(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    whole = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
    whole.save(tmp_path / "a.jpg", quality=90)
    spec = replace(SPEC, decoding="scaled")
    recorder = Redness()
    fed = []
    recorder.scores = lambda pixels: (fed.append(pixels.copy()), Redness().scores(pixels))[1]
    segmenter = Segmenter(spec, recorder, "redness")
    read = read_photo(tmp_path / "a.jpg", spec)
    assert (read.size, read.picture.size) == ((320, 240), (40, 30))
    expected = grid_of(tmp_path / "a.jpg", spec)
    assert not np.array_equal(expected, grid_of(tmp_path / "a.jpg", SPEC))
    for source in (tmp_path / "a.jpg", (tmp_path / "a.jpg").read_bytes(), read):
        assert segmenter.segment(source).labels.shape == (240, 320)
        prediction = segmenter.predict(source)
        assert prediction.size == (320, 240)
        assert prediction.mask("smooth").labels.shape == (240, 320)
    assert len(fed) == 6
    assert all(np.array_equal(grid, expected) for grid in fed)


def test_bgr_is_for_arrays_only(segmenter, photo):
    with pytest.raises(ConfigError, match="color_order is for arrays"):
        segmenter.segment(Image.fromarray(photo), color_order="bgr")


@pytest.mark.parametrize("settings", [{"color_order": "grb"}, {"edges": "sharp"}])
def test_unknown_settings_are_refused(segmenter, photo, settings):
    with pytest.raises(ConfigError, match="known are"):
        segmenter.segment(photo, **settings)


def test_a_file_of_labels_has_no_smooth_edges(photo):
    segmenter = Segmenter(SPEC, LabelsOnly(), "labels")
    for call in (
        lambda: segmenter.segment(photo, edges="smooth"),
        lambda: segmenter.predict(photo),
    ):
        with pytest.raises(BackendError, match=r"unet-edge export RUN \(without --labels\)"):
            call()
