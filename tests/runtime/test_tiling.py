"""Tiles of a large picture: their positions, how they are blended, and the memory for it."""

import hashlib
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.images.placement import resize_labels
from unet_edge.masks import upsampling
from unet_edge.masks.upsampling import probabilities
from unet_edge.runtime.tile_settings import Tiles
from unet_edge.runtime.tiling import (
    Axis,
    Tiling,
    blended,
    tiled_labels,
    tiled_probabilities,
)
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(16, 24, ("background", "cat", "dog"), pad_color=(7, 7, 7))


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def of_pixels(pixels):
    """Scores that depend on the pixel alone, so that all tiles agree."""
    return pixels.astype(np.float32) - np.float32(100)


class OfPlace:
    """Scores that depend on the place in the tile and on the tile."""

    def __init__(self):
        self.calls = []

    def __call__(self, pixels):
        random = np.random.default_rng(len(self.calls))
        scores = random.normal(0, 3, (*pixels.shape[:2], 3)).astype(np.float32)
        self.calls.append((pixels, scores))
        return scores


def unwatched(done, total):
    pass


# --- geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 15, 16, 17, 20, 31, 32, 33, 100, 6000])
@pytest.mark.parametrize("overlap", [0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(
    ("tile", "unit"), [(1, 1), (2, 16), (16, 1), (16, 2), (384, 16), (648, 27)]
)
def test_tiles_lie_inside_and_overlap_by_the_given_share_or_more(size, overlap, tile, unit):
    axis = Axis.of(size, tile, overlap, unit)
    assert axis.length == min(size, tile)
    assert axis.starts[0] == 0
    assert axis.starts[-1] == size - axis.length
    assert all(type(start) is int for start in axis.starts)
    steps = np.diff(axis.starts)
    assert (steps > 0).all()
    longest = max(1, tile - int(tile * overlap))  # with a pixel of progress
    unit = unit if longest >= unit else 1
    assert all(start % unit == 0 for start in axis.starts[:-1])
    if steps.size:
        assert steps.max() <= longest
        assert np.ptp(steps) <= 2 * unit  # spread evenly
        # One tile fewer would not be enough.
        assert (len(steps) - 1) * (longest - longest % unit) < size - tile


@pytest.mark.parametrize("size", [16, 17, 20, 33, 100, 1001])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_weights_are_above_0_and_add_up_to_1(size, overlap):
    axis = Axis.of(size, 16, overlap, 1)
    total, seen = np.zeros(size), np.zeros(size, int)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert weights.dtype == np.float32
        assert (weights > 0).all()
        total[start : start + 16] += weights
        seen[start : start + 16] += 1
    assert seen.min() >= 1
    # Each is rounded by half of 2**-24 at most.
    assert np.abs(total - 1).max() <= seen.max() * 2.0**-25
    assert (total[seen == 1] == 1).all()


def test_weights_between_two_tiles_are_a_straight_ramp():
    axis = Axis.of(28, 16, 0.25, 1)  # two tiles, four pixels shared
    assert axis.starts == (0, 12)
    assert axis.weights[0].tolist() == [1] * 12 + [np.float32(k / 5) for k in (4, 3, 2, 1)]
    assert axis.weights[1].tolist() == axis.weights[0].tolist()[::-1]


def test_the_scale_sets_how_much_of_the_photo_a_tile_sees():
    assert Tiles().size(SPEC) == (16, 24)
    # 16 px of the grid are 26.67 px of the photo, which is rounded.
    assert Tiles(scale=0.6).unit == 27
    assert Tiles(scale=0.6).size(SPEC) == (27, 41)  # 40.5
    assert Tiles(scale=2).size(SPEC) == (8, 12)
    assert Tiles().fits_one_tile((24, 16), SPEC)
    assert not Tiles().fits_one_tile((25, 16), SPEC)
    assert not Tiles().fits_one_tile((24, 17), SPEC)
    assert Tiles(scale=0.5).fits_one_tile((48, 32), SPEC)


@pytest.mark.parametrize(
    "settings",
    [{"overlap": -0.1}, {"overlap": 0.95}, {"overlap": float("nan")}, {"scale": 0}, {"scale": 9}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match="it must be from"):
        Tiles(**settings)


def test_a_part_of_the_grid_without_photo_is_padding():
    # 40x10 px: two tiles of 24 px across, and 10 of the grid's 16 rows, in the middle.
    score = OfPlace()
    picture = noise(40, 10)
    tiling = Tiling.plan(picture.size, SPEC, Tiles())
    labels = tiled_labels(picture, tiling, score, "nearest", unwatched)
    assert labels.shape == (10, 40)
    (first, _), (second, scores) = score.calls
    pixels = np.asarray(picture)
    assert np.array_equal(first[3:13], pixels[:, :24])
    assert np.array_equal(second[3:13], pixels[:, 16:])
    for grid in (first, second):
        assert (grid[:3] == 7).all()
        assert (grid[13:] == 7).all()
    # Columns 24 to 39 are seen by the second tile alone.
    assert np.array_equal(labels[:, 24:], scores[3:13, 8:].argmax(axis=-1))


# --- blending ---------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", ["nearest", "smooth"])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.7])
def test_blending_tiles_that_agree_changes_nothing(edges, overlap):
    picture = noise(101, 67)
    tiling = Tiling.plan(picture.size, SPEC, Tiles(overlap))
    scores = of_pixels(np.asarray(picture))
    labels, shares = tiled_probabilities(picture, tiling, of_pixels, edges, unwatched)
    assert np.array_equal(labels, scores.argmax(axis=-1))
    # The weights add up to 1, except for rounding, which may tip a value between two integers.
    difference = np.abs(shares.astype(int) - probabilities(scores, 67, 101, "nearest"))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def blended_at_once(picture, tiling, calls, edges):
    """The blended scores in float64, of the whole picture at once."""
    height, width = tiling.placement.height, tiling.placement.width
    total = np.zeros((picture.height, picture.width, 3))
    weights = np.zeros((picture.height, picture.width, 1))
    places = [(top, left) for top in tiling.rows.starts for left in tiling.columns.starts]
    for (top, left), (_, scores) in zip(places, calls, strict=True):
        part = scores[tiling.placement.box]
        if edges == "nearest":
            planes = [resize_labels(part[..., index], height, width) for index in range(3)]
        else:
            planes = [
                np.asarray(
                    Image.fromarray(np.ascontiguousarray(part[..., index])).resize(
                        (width, height), Image.Resampling.BILINEAR
                    )
                )
                for index in range(3)
            ]
        down = np.minimum(np.arange(1, height + 1), np.arange(height, 0, -1))
        across = np.minimum(np.arange(1, width + 1), np.arange(width, 0, -1))
        window = (down[:, None] * across)[..., None]
        total[top : top + height, left : left + width] += np.stack(planes, -1) * window
        weights[top : top + height, left : left + width] += window
    return total / weights


# Without smooth edges of photos smaller than the grid: Pillow samples those differently.
@pytest.mark.parametrize(
    ("scale", "edges"),
    [(1, "nearest"), (0.3, "nearest"), (0.3, "smooth"), (0.61, "smooth"), (1.7, "nearest")],
)
@pytest.mark.parametrize("overlap", [0, 0.25, 0.7])
@pytest.mark.parametrize("size", [(90, 13), (20, 200), (85, 74)])
@pytest.mark.parametrize("strip", [1, 300, 2**18])
def test_scores_equal_those_of_blending_the_complete_photo_at_once(
    monkeypatch, scale, edges, overlap, size, strip
):
    monkeypatch.setattr(upsampling, "_STRIP_PIXELS", strip)
    picture = noise(*size)
    score = OfPlace()
    tiling = Tiling.plan(picture.size, SPEC, Tiles(overlap, scale))
    scores = np.full((2, picture.height, picture.width), np.nan)
    for rows, columns, planes in blended(picture, tiling, score, edges, unwatched):
        assert planes.dtype == np.float32
        assert np.isnan(scores[:, rows, columns]).all()  # each pixel once
        scores[:, rows, columns] = planes
    assert len(score.calls) == tiling.count
    expected = blended_at_once(picture, tiling, score.calls, edges)
    expected = np.moveaxis(expected[..., 1:] - expected[..., :1], -1, 0)
    # Scores below 32, a handful of float32 roundings of each, and Pillow's own.
    assert np.abs(scores - expected).max() < 32 * 16 * 2.0**-24


def test_watch_is_called_after_each_tile():
    seen = []
    picture = noise(50, 40)
    tiling = Tiling.plan(picture.size, SPEC, Tiles())
    tiled_labels(picture, tiling, of_pixels, "nearest", lambda *now: seen.append(now))
    # 50 px hold tiles of 24, from 0, 13 and 26 if they began anywhere; 40 px tiles of 16, whose
    # steps of 12 are less than 16.
    assert tiling.columns.starts == (0, 16, 26)
    assert tiling.rows.starts == (0, 12, 24)
    assert seen == [(done, 9) for done in range(1, 10)]


# --- memory, bytes ----------------------------------------------------------------------------


def test_memory_is_needed_for_shared_rows_not_for_the_scores_of_the_photo():
    spec = ModelSpec(64, 64, ("background", "cat", "dog"))
    picture = Image.new("RGB", (1500, 2000))
    tiling = Tiling.plan(picture.size, spec, Tiles(0.25))
    # A tile begins 48 or 32 px after the one before, and the last column 44 px.
    assert (tiling.rows.shared, tiling.columns.shared) == (32, 20)
    tracemalloc.start()
    labels = tiled_labels(picture, tiling, of_pixels, "nearest", unwatched)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = 2 * 4 * (tiling.rows.shared * 1500 + tiling.columns.shared * 64)
    # A tile's pixels, its scores and their planes, several times over: 20 float32 a pixel.
    assert peak - labels.nbytes < held + 20 * 4 * 64 * 64 * 3 / 2
    assert peak - labels.nbytes < labels.size * 2 * 4 / 20  # the photo's scores are 23 MB


def test_a_tile_of_the_whole_photo_is_blended_in_strips():
    spec = ModelSpec(64, 64, ("background", "cat"))
    picture = Image.new("RGB", (1700, 1600))
    tiling = Tiling.plan(picture.size, spec, Tiles(0.25, scale=0.04))  # 1600 px squared
    tracemalloc.start()
    labels = tiled_labels(
        picture, tiling, lambda pixels: of_pixels(pixels)[..., :2], "smooth", unwatched
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = 4 * (tiling.rows.shared * 1700 + tiling.columns.shared * 1600)
    assert tiling.rows.shared == 0
    # Ten planes of a strip of 1 MiB; the tile's scores would be 10 MB, and its weighted ones.
    assert peak - labels.nbytes < held + 10 * 2**20


@pytest.mark.parametrize(
    ("tiles", "edges", "digest"),
    [
        (Tiles(), "nearest", "9d9c8d9830d88c2d"),
        (Tiles(0.6, 0.37), "nearest", "09d9dcf63bca14c1"),
        (Tiles(0.4, 0.37), "smooth", "2fb7d623a106297c"),
    ],
)
def test_labels_are_the_same_bytes_on_every_processor(tiles, edges, digest):
    """Golden digests of labels, from x86 with NumPy 2.4; the scores are pseudo-random."""
    picture = noise(211, 157)

    def score(pixels):
        mixed = pixels.astype(np.int64) @ np.array([[3, 5, 7], [11, 2, 9], [1, 8, 6]])
        return ((mixed * 7919 % 1009).astype(np.float32) - np.float32(504)) * np.float32(0.0137)

    tiling = Tiling.plan(picture.size, SPEC, tiles)
    labels = tiled_labels(picture, tiling, score, edges, unwatched)
    assert [0.2 < (labels == index).mean() < 0.5 for index in range(3)] == [True] * 3
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == digest
