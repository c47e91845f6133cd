"""Turns and bends: picture and labels move together, and nothing comes from outside."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.augmentation import augment
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.warp import Warp, draw_warp

# Corners of the colour cube: no blend of others is one of them.
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], np.uint8)
PAD = (1, 2, 3)
STILL = Augmentation(
    horizontal_flip=False,
    scale=(1, 1),
    aspect=0,
    hue=0,
    saturation=0,
    brightness=0,
    contrast=0,
)


def spec_of(height, width, **changes):
    return ModelSpec(height, width, ("a", "b", "c", "d"), pad_color=PAD, **changes)


def blocks(width, height, block=20):
    """Labels in blocks of four classes, and the picture that shows each in its colour."""
    y, x = np.indices((height, width)) // block
    labels = ((x + 2 * y + x * y) % 4).astype(np.uint8)
    return Image.fromarray(COLORS[labels]), labels


def noise(width, height, seed=0):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels), random.integers(0, 4, (height, width)).astype(np.uint8)


def turned(size, crop, degrees, cells=1):
    """A turn about the middle of both, by hand: counter-clockwise as one looks at it."""
    edges = [np.linspace(-edge / 2, edge / 2, cells + 1) for edge in crop]
    y, x = np.meshgrid(*edges, indexing="ij")
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    # The picture's y points down, so that turning it counter-clockwise looks up clockwise.
    corners = np.stack([cosine * y + sine * x, cosine * x - sine * y], axis=-1)
    return Warp(corners + np.array(size) / 2, size, crop)


def view(warp, picture, labels, spec):
    found, outside = warp.labels(labels)
    return np.asarray(warp.picture(picture, spec)), found, outside


def draw(picture, labels, spec, settings, seed, crop):
    return augment(picture, labels, spec, crop, settings, np.random.default_rng(seed))


def interior(shown):
    """Where a pixel and its eight neighbours are set; outside the array counts as set."""
    padded = np.pad(shown, 1, constant_values=True)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).all(axis=(2, 3))


# --- by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 8])
def test_no_turn_and_no_bend_is_the_picture_itself(cells):
    picture, labels = noise(40, 24)
    warp = turned((24, 40), (24, 40), 0, cells)
    pixels, found, outside = view(warp, picture, labels, spec_of(24, 40))
    assert np.array_equal(pixels, np.asarray(picture))
    assert np.array_equal(found, labels)
    assert not outside.any()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_is_rot90(turns):
    picture, labels = noise(32, 32)
    warp = turned((32, 32), (32, 32), 90 * turns)
    pixels, found, outside = view(warp, picture, labels, spec_of(32, 32))
    assert np.array_equal(found, np.rot90(labels, turns))
    assert not outside.any()
    # cos(90 degrees) is 6e-17, not 0, and Pillow's bilinear sampling cuts what is behind the point.
    level = pixels.astype(int) - np.rot90(np.asarray(picture), turns)
    assert set(np.unique(level)) <= {-1, 0}


def test_a_draw_turns_counter_clockwise_for_positive_angles():
    """The same generator by hand: first the angle, then where the view lies."""
    random = np.random.default_rng(5)
    warp = draw_warp((60, 60), (60, 60), 180, 0, np.random.default_rng(5))
    angle = random.uniform(-180, 180)
    assert abs(angle) > 30
    expected = turned((60, 60), (60, 60), angle)
    np.testing.assert_allclose(warp.corners, expected.corners, atol=1e-9)  # float64, of up to 60


def test_half_the_size_is_the_filters_half():
    picture, labels = blocks(80, 80)
    warp = turned((40, 40), (40, 40), 0)
    pixels, found, _ = view(warp, picture, labels, spec_of(40, 40))
    reduced = picture.resize((40, 40), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels, np.asarray(reduced))
    # Centres of the halves lie on corners of four pixels of one block.
    assert np.array_equal(found, labels[1::2, 1::2])


def test_a_view_of_nothing_is_padding():
    picture, labels = noise(20, 20)
    warp = turned((20, 20), (8, 8), 0)
    away = Warp(warp.corners + 100, warp.size, warp.crop)
    pixels, found, outside = view(away, picture, labels, spec_of(20, 20))
    assert pixels.shape == (8, 8, 3)
    assert (found == IGNORE).all()
    assert outside.all()


# --- views as they are drawn ------------------------------------------------------------------

KINDS = {
    "turned": {"rotation": 30},
    "bent": {"elastic": 3},
    "both": {"rotation": 180, "elastic": 2, "any_orientation": True, "horizontal_flip": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(160, 120), (60, 200)], ids=str)
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "box"])
def test_picture_and_labels_move_together(kind, size, resample):
    picture, labels = blocks(*size)
    spec = spec_of(96, 128, resample=resample)
    settings = dataclasses.replace(STILL, scale=(0.7, 2), aspect=0.3, **KINDS[kind])
    pure, inside = 0, 0
    for seed in range(20):
        pixels, found = draw(picture, labels, spec, settings, seed, (80, 80))
        assert (pixels[found == IGNORE] == PAD).all()
        for label, color in enumerate(COLORS):
            # A pure colour in all eight neighbours means that all the filters saw around it was
            # of that class: the label, which no filter touches, must be it.
            shown = interior((pixels == color).all(axis=-1))
            assert (found[shown] == label).all()
            pure += shown.sum()
        inside += (found != IGNORE).sum()
    # The blocks are 20 px: most pixels are away from edges, so the test saw something.
    assert pure > 0.25 * inside > 0


def test_every_angle_up_to_the_largest_is_drawn_either_way():
    # A line to the right of the middle: where it points to is the angle.
    labels = np.zeros((65, 65), np.uint8)
    labels[31:34, 40:60] = 1
    picture = Image.fromarray(COLORS[labels])
    angles = []
    for seed in range(60):
        settings = dataclasses.replace(STILL, rotation=40)
        _, found = draw(picture, labels, spec_of(65, 65), settings, seed, (65, 65))
        y, x = np.argwhere(found == 1).mean(axis=0) - 32
        angles.append(np.rad2deg(np.arctan2(-y, x)))
    # The mean of a line 3 px wide and 18 px away is known to a tenth of a px: half a degree.
    assert -40.5 <= min(angles) <= -35
    assert 35 <= max(angles) <= 40.5
    assert abs(sum(angle > 0 for angle in angles) - 30) <= 5 * np.sqrt(60) / 2  # five deviations


def test_a_bend_moves_pixels_by_its_strength_and_leaves_the_rest_of_the_view_straight():
    # Grey that counts columns: what a pixel shows is where it came from.
    columns = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (128, 128, 3))
    picture = Image.fromarray(np.ascontiguousarray(columns))
    labels = np.zeros((128, 128), np.uint8)
    settings = dataclasses.replace(STILL, elastic=4)
    moved = []
    for seed in range(150):
        pixels, found = draw(picture, labels, spec_of(128, 128), settings, seed, (128, 128))
        assert (found[32:-32, 32:-32] == 0).all()
        grid = pixels[32:112:16, 32:112:16, 0] / 2 - np.arange(32, 112, 16)
        moved.append(grid)
    # A strength drawn evenly from 0 to 4 has a mean square of 16/3; pixel (16 i, 16 j) is half a
    # px from a grid point, 3 % of a cell, so nearly all of its displacement is that point's.
    # 3750 values in 150 groups of one strength: the root's standard error is about 4 %.
    assert np.sqrt(np.mean(np.square(moved))) == pytest.approx(4 / np.sqrt(3), rel=0.2)
    assert abs(np.mean(moved)) < 0.5
    assert min(np.abs(grid).max() for grid in moved) < 1 < max(np.abs(grid).max() for grid in moved)


def test_pixels_outside_are_padding_and_ignored_for_any_colour():
    picture, labels = Image.new("RGB", (50, 50), (255, 255, 255)), np.zeros((50, 50), np.uint8)
    loud = {"brightness": 0.5, "contrast": 0.5, "noise": 0.3, "blur": 2.0}
    settings = dataclasses.replace(STILL, scale=(0.5, 0.5), rotation=180, **loud)
    places = set()
    for seed in range(30):
        pixels, found = draw(picture, labels, spec_of(40, 40), settings, seed, (40, 40))
        assert set(np.unique(found)) == {0, IGNORE}
        assert (pixels[found == IGNORE] == PAD).all()
        # A square of 20 px, its middle no more than 10 px from the view's, about which it turns:
        # the middle stays in view, so half of the square does. As many centres lie in it as its
        # area says, give or take a quarter of its rim of 80 px.
        assert 400 / 2 - 20 <= (found == 0).sum() <= 400 + 20
        places.add(tuple(np.argwhere(found == 0).mean(axis=0).round()))
    assert len(places) > 20


def test_a_small_picture_is_completely_inside_before_rotation():
    for seed in range(50):
        warp = draw_warp((20, 30), (64, 48), 0, 0, np.random.default_rng(seed))
        low, high = warp.corners[0, 0], warp.corners[-1, -1]
        assert (low <= 0).all()
        assert (high >= (20, 30)).all()


def test_a_large_picture_fills_the_view_before_it_is_turned():
    for seed in range(50):
        warp = draw_warp((200, 300), (64, 48), 0, 0, np.random.default_rng(seed))
        low, high = warp.corners[0, 0], warp.corners[-1, -1]
        assert (low >= 0).all()
        assert (high <= (200, 300)).all()


def test_pixels_that_the_user_leaves_out_keep_their_picture():
    # IGNORE in a mask is not padding: the network should see what surrounds what it learns.
    picture = Image.new("RGB", (64, 64), (200, 100, 50))
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = IGNORE
    settings = dataclasses.replace(STILL, rotation=20, elastic=1)
    for seed in range(10):
        pixels, found = draw(picture, labels, spec_of(64, 64), settings, seed, (64, 64))
        kept = (found == IGNORE) & (pixels == (200, 100, 50)).all(axis=-1)
        # 32 x 32 px, turned and bent a little: the rim of 128 px may lose or gain.
        assert abs(kept.sum() - 32 * 32) <= 128


def test_a_ring_of_the_picture_never_mixes_with_padding():
    # Bilinear sampling at the picture's edge repeats it instead of blending what lies beyond.
    picture, labels = Image.new("RGB", (40, 40), (200, 0, 0)), np.zeros((40, 40), np.uint8)
    settings = dataclasses.replace(STILL, scale=(0.6, 0.6), rotation=180)
    for seed in range(20):
        pixels, found = draw(picture, labels, spec_of(64, 64), settings, seed, (64, 64))
        assert (pixels[found == 0] == (200, 0, 0)).all()


# --- any picture, any size --------------------------------------------------------------------


@pytest.mark.parametrize("part", range(4))
def test_nothing_breaks_for_any_size_strength_and_seed(part):
    random = np.random.default_rng(part)
    for case in range(80):
        width, height = (int(2 ** random.uniform(0, 7.5)) for _ in range(2))
        crop = tuple(int(4 * random.integers(1, 17)) for _ in range(2))
        spec = spec_of(
            *(int(4 * random.integers(1, 25)) for _ in range(2)),
            fit=str(random.choice(["letterbox", "stretch"])),
            resample=str(random.choice(["bilinear", "bicubic", "box"])),
        )
        low = random.uniform(0.05, 2)
        settings = Augmentation(
            any_orientation=bool(random.integers(2)),
            scale=(low, low * random.uniform(1, 4)),
            aspect=random.uniform(0, 0.99),
            rotation=random.choice([0, random.uniform(0, 180)]),
            elastic=random.choice([0, random.uniform(0, 50)]),
            blur=random.choice([0, 2.0]),
            noise=random.choice([0, 0.5]),
        )
        picture, labels = noise(width, height, case)
        labels[random.random(labels.shape) < 0.1] = IGNORE
        pixels, found = draw(picture, labels, spec, settings, (part, case), crop)
        assert (pixels.shape, pixels.dtype) == ((*crop, 3), np.uint8)
        assert (found.shape, found.dtype) == (crop, np.uint8)
        assert set(np.unique(found)) <= {0, 1, 2, 3, IGNORE}


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)], ids=str)
def test_tiny_and_thin_pictures_pass(size):
    picture, labels = Image.new("RGB", size, (9, 9, 9)), np.zeros(size[::-1], np.uint8)
    settings = dataclasses.replace(Augmentation(), rotation=45, elastic=2)
    seen = [
        (draw(picture, labels, spec_of(32, 48), settings, seed, (32, 48))[1] == 0).any()
        for seed in range(20)
    ]
    assert sum(seen) > 10
