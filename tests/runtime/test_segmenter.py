"""Pictures in and masks out of a Segmenter, with a backend of known scores."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from unet_edge.demo.cells import draw_cells
from unet_edge.errors import BackendError, ConfigError
from unet_edge.images.decoding import grid_of, read_photo
from unet_edge.masks.upsampling import probabilities, smooth_labels
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.backend import as_scores
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.tile_settings import Tiles
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


def test_the_logits_of_a_prediction_are_the_part_of_the_grid_with_the_photo(segmenter, photo):
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


def test_the_decoder_reduces_a_file_and_the_mask_keeps_its_size(tmp_path):
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
    with pytest.raises(ConfigError, match="and the picture is not an array"):
        segmenter.segment(Image.fromarray(photo), color_order="bgr")


@pytest.mark.parametrize("settings", [{"color_order": "grb"}, {"edges": "sharp"}])
def test_unknown_settings_are_refused(segmenter, photo, settings):
    with pytest.raises(ConfigError, match="it must be one of"):
        segmenter.segment(photo, **settings)


def test_a_file_of_labels_has_no_smooth_edges(photo):
    segmenter = Segmenter(SPEC, LabelsOnly(), "labels")
    for call in (
        lambda: segmenter.segment(photo, edges="smooth"),
        lambda: segmenter.predict(photo),
    ):
        with pytest.raises(BackendError, match=r"unet-edge export RUN \(without --labels\)"):
            call()


# --- tiles ------------------------------------------------------------------------------------


class Redder(Redness):
    """As Redness, but with higher scores towards the middle of the grid, so that tiles differ."""

    def scores(self, pixels):
        scores = super().scores(pixels)
        sure = np.minimum(np.arange(1, 13), np.arange(12, 0, -1))
        scores[..., 1] = np.clip(scores[..., 1].astype(int) + 4 * sure - 14, 0, 255)
        return scores


@pytest.mark.parametrize("edges", ["nearest", "smooth"])
def test_tiles_keep_the_detail_of_the_photo(photo, edges):
    # Scores depend on one pixel: in tiles, so does the mask.
    segmenter = Segmenter(SPEC, Redness(), "redness")
    expected = photo[..., 0].astype(int) - photo[..., 2] > 1  # half of it, above 0
    for overlap in (0, 0.25, 0.5):
        mask = segmenter.segment(photo, edges=edges, tiles=Tiles(overlap))
        assert np.array_equal(mask.labels, expected)
    assert not np.array_equal(segmenter.segment(photo, edges=edges).labels, expected)
    swapped = segmenter.segment(photo[..., ::-1], color_order="bgr", tiles=Tiles())
    assert np.array_equal(swapped.labels, expected)


@pytest.mark.parametrize("edges", ["nearest", "smooth"])
def test_predict_tiles_gives_the_mask_of_segment(photo, edges):
    segmenter = Segmenter(SPEC, Redder(), "redder")
    seen = []
    tiles = Tiles(0.4, scale=0.7)
    prediction = segmenter.predict_tiles(
        photo, tiles, edges=edges, watch=lambda *now: seen.append(now)
    )
    assert np.array_equal(
        prediction.mask.labels, segmenter.segment(photo, edges=edges, tiles=tiles).labels
    )
    assert prediction.probabilities.shape == (2, 24, 32)
    # 255 p of two classes add up to 255, except for rounding.
    assert np.abs(prediction.probabilities.astype(int).sum(axis=0) - 255).max() <= 1
    sure = np.abs(prediction.probabilities[1].astype(int) - 128) > 1
    assert np.array_equal(
        (prediction.probabilities[1] > 127)[sure], prediction.mask.labels.astype(bool)[sure]
    )
    # A tile of 12x17 px overlaps the next by 4 and 6, so 24 and 32 px take 3 each.
    assert seen == [(done, 9) for done in range(1, 10)]


@pytest.mark.parametrize("size", [(12, 8), (7, 8), (12, 3), (5, 5)])
def test_a_photo_that_fits_one_tile_is_segmented_as_without(photo, size):
    segmenter = Segmenter(SPEC, Redder(), "redder")
    small = Image.fromarray(photo).resize(size)
    for edges in ("nearest", "smooth"):
        expected = segmenter.segment(small, edges=edges).labels
        assert np.array_equal(segmenter.segment(small, edges=edges, tiles=Tiles()).labels, expected)
        prediction = segmenter.predict_tiles(small, Tiles(), edges=edges)
        assert np.array_equal(prediction.mask.labels, expected)
        expected_shares = segmenter.predict(small).probabilities(edges)
        assert np.array_equal(prediction.probabilities, expected_shares)


def test_a_file_of_labels_cannot_be_blended(photo):
    segmenter = Segmenter(replace(SPEC, output="labels"), LabelsOnly(), "labels")
    small = photo[:4, :4]
    for call in (
        lambda: segmenter.segment(photo, tiles=Tiles()),
        lambda: segmenter.segment(small, tiles=Tiles()),  # also for a photo that fits one tile
        lambda: segmenter.predict_tiles(photo, Tiles()),
        lambda: segmenter.predict_tiles(small, Tiles()),
    ):
        with pytest.raises(BackendError, match=r"unet-edge export RUN \(without --labels\)"):
            call()


def test_a_real_model_in_tiles(bundle_path):
    """A picture of 3x3 grids through LiteRT."""
    segmenter = Segmenter.open(bundle_path, file="model-int8.tflite")
    # Mirrored: drawing all of it takes eight times as long.
    photo, truth = draw_cells(288, np.random.default_rng(0))
    photo = np.pad(photo, ((0, 288), (0, 288), (0, 0)), mode="symmetric")
    truth = np.pad(truth, ((0, 288), (0, 288)), mode="symmetric")
    # Tiles without overlap equal pictures of their own.
    alone = segmenter.segment(photo, tiles=Tiles(0)).labels
    for top in (0, 192, 384):
        for left in (0, 192, 384):
            place = np.s_[top : top + 192, left : left + 192]
            assert np.array_equal(alone[place], segmenter.segment(photo[place]).labels)
    dense = segmenter.segment(photo, tiles=Tiles(0.8)).labels
    joined = segmenter.segment(photo, tiles=Tiles(0.25)).labels
    assert (joined == truth).mean() > 0.85  # 0.90 and more
    # Tiles of 192 px from 0, 128, 256 and 384: near their borders and their overlaps' middles,
    # and near where hard tiles meet.
    seams = np.zeros(576, bool)
    for line in (128, 256, 384, 192, 320, 448, 160, 288, 416):
        seams[line - 4 : line + 4] = True
    hard = np.zeros(576, bool)
    hard[188:196] = hard[380:388] = True
    near, far = (seams | seams[:, None]), ~(seams | seams[:, None])
    cut = hard | hard[:, None]
    wrong = joined != dense
    # Of pixels at hard seams 9.2 % differed and of others 1.4 %; of blended ones 0.9 % anywhere.
    # The model is trained again, so the limits are halfway (geometric means).
    assert (alone != dense)[cut].mean() > 2.5 * (alone != dense)[~cut].mean()
    assert wrong[near].mean() < 2.5 * wrong[far].mean()
    assert wrong[cut].mean() < 0.3 * (alone != dense)[cut].mean()
