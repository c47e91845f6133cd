import collections
import colorsys
import dataclasses

import numpy as np
import pytest
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.images.placement import place
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.augmentation import augment
from unet_edge.training.settings.augmentation import Augmentation

# Corners of the colour cube: no blend of others is one of them.
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], np.uint8)
PAD = (1, 2, 3)

OFF = Augmentation(
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


def flat(color, size=(8, 8)):
    return Image.new("RGB", size, color), np.zeros(size[::-1], np.uint8)


def draw(picture, labels, spec, settings, seed, crop=None):
    random = np.random.default_rng(seed)
    return augment(picture, labels, spec, crop or spec.size, settings, random)


def box(labels):
    """Where the picture lies in a crop: (height, width)."""
    rows, columns = np.nonzero(labels != IGNORE)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def interior(shown):
    """Where a pixel and its eight neighbours are set; outside the array counts as set."""
    padded = np.pad(shown, 1, constant_values=True)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).all(axis=(2, 3))


def test_a_view_has_the_size_that_was_asked_for():
    pixels, labels = draw(*blocks(90, 70), spec_of(64, 96), Augmentation(), 0, (48, 32))
    assert (pixels.shape, pixels.dtype) == ((48, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((48, 32), np.uint8)


def test_the_same_seed_gives_the_same_view_and_another_another():
    views = [draw(*blocks(90, 70), spec_of(64, 96), Augmentation(), seed) for seed in (1, 1, 2)]
    for first, second in zip(views[0], views[1], strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(views[0][0], views[2][0])


def test_the_callers_picture_and_labels_stay_as_they_are():
    picture, labels = blocks(90, 70)
    before = picture.tobytes(), labels.tobytes()
    for seed in range(5):
        draw(picture, labels, spec_of(64, 96), Augmentation(any_orientation=True), seed)
    assert (picture.tobytes(), labels.tobytes()) == before


def test_everything_off_is_the_view_of_inference():
    picture, labels = blocks(100, 100)
    spec = spec_of(64, 64)
    pixels, found = draw(picture, labels, spec, OFF, 0)
    assert np.array_equal(pixels, place(picture, spec))
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_a_mirrored_plain_view_is_the_view_of_inference_mirrored():
    # Odd sizes, and pixels of noise: a window that was off by a part of a pixel would show.
    noise = np.random.default_rng(0).integers(0, 256, (77, 101, 3), np.uint8)
    picture, labels = Image.fromarray(noise), np.zeros((77, 101), np.uint8)
    spec = spec_of(64, 84)
    straight = place(picture, spec)
    settings = dataclasses.replace(OFF, horizontal_flip=True)
    views = {draw(picture, labels, spec, settings, seed)[0].tobytes() for seed in range(20)}
    assert views == {straight.tobytes(), straight[:, ::-1].tobytes()}


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(
    "strengths", [{}, {"rotation": 30.0, "elastic": 2.0}], ids=["upright", "warped"]
)
def test_a_reduced_picture_moves_with_the_labels_of_the_whole_one(factor, strengths):
    # What the JPEG decoder reduced: the same views, of the labels to the pixel.
    picture, labels = blocks(320, 240)
    reduced = picture.reduce(factor)
    spec = spec_of(20, 28, decoding="scaled")
    settings = dataclasses.replace(
        OFF, horizontal_flip=True, any_orientation=True, scale=(0.7, 1.2), **strengths
    )
    for seed in range(20):
        whole, wanted = draw(picture, labels, spec, settings, seed)
        pixels, found = draw(reduced, labels, spec, settings, seed)
        assert np.array_equal(found, wanted)
        # The blocks' colours are 255 apart: only their edges may differ, by the filter.
        assert abs(pixels.astype(float) - whole).mean() < 12


@pytest.mark.parametrize("size", [(160, 120), (60, 200)], ids=str)
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "box"])
def test_picture_and_labels_move_together(size, fit, resample):
    picture, labels = blocks(*size)
    spec = spec_of(96, 128, fit=fit, resample=resample)
    settings = dataclasses.replace(
        OFF, horizontal_flip=True, any_orientation=True, scale=(0.7, 2), aspect=0.3
    )
    pure, inside = 0, 0
    for seed in range(40):
        pixels, found = draw(picture, labels, spec, settings, seed, (80, 80))
        assert (pixels[found == IGNORE] == PAD).all()
        for label, color in enumerate(COLORS):
            # A pure colour means that all the filter saw was of that class, the centre too. On
            # an exact tie between two source px, filter and label may choose differently, so
            # both neighbours must show the colour as well.
            shown = interior((pixels == color).all(axis=-1))
            assert (found[shown] == label).all()
            pure += shown.sum()
        inside += (found != IGNORE).sum()
    # The blocks are 20 px: most pixels are away from edges, so the test saw something.
    assert pure > 0.3 * inside > 0


def test_pixels_outside_the_picture_are_padding_and_ignored():
    picture, labels = flat((255, 255, 255), (50, 50))
    settings = dataclasses.replace(OFF, scale=(0.5, 0.5))
    places = set()
    for seed in range(30):
        pixels, found = draw(picture, labels, spec_of(40, 40), settings, seed)
        outside = found == IGNORE
        assert (pixels[outside] == PAD).all()
        assert (pixels[~outside] == 255).all()
        assert box(found) == (20, 20)
        assert (~outside).sum() == 20 * 20
        places.add(tuple(np.argwhere(~outside)[0]))
    assert len(places) > 20  # anywhere, not always in the middle


def test_the_crop_is_full_or_contains_the_complete_picture():
    picture, labels = blocks(90, 70)
    for seed in range(20):
        settings = dataclasses.replace(OFF, scale=(2, 2))
        _, found = draw(picture, labels, spec_of(64, 64), settings, seed)
        # At twice 64 x 50 px the picture covers the crop in both directions.
        assert (found != IGNORE).all()


def test_zoom_and_stretch_stay_in_their_ranges_and_use_them():
    picture, labels = flat((255, 255, 255), (60, 60))
    settings = dataclasses.replace(OFF, scale=(0.5, 2), aspect=0.3)
    zooms, aspects = [], []
    for seed in range(300):
        _, found = draw(picture, labels, spec_of(60, 60), settings, seed, (150, 150))
        height, width = box(found)
        zooms.append(np.sqrt(height * width) / 60)
        aspects.append(width / height)
    # Sides are whole px of at least 60 / 2 / sqrt(1.3) = 26: half a px is 2 % of one.
    assert 0.5 * 0.98 <= min(zooms) <= 0.55
    assert 1.8 <= max(zooms) <= 2 * 1.02
    assert 1 / 1.3 / 1.04 <= min(aspects) <= 0.82
    assert 1.22 <= max(aspects) <= 1.3 * 1.04
    # As often smaller as larger: the logarithm is even. 300 draws, five standard deviations.
    assert abs(sum(z < 1 for z in zooms) - 150) <= 5 * np.sqrt(300) / 2


def test_zoom_one_is_the_size_of_inference_and_keeps_the_pictures_own_aspect():
    _, found = draw(*flat((9, 9, 9), (200, 100)), spec_of(64, 64), OFF, 0)
    assert box(found) == (32, 64)


def views_of(picture, labels, settings, count):
    """How often each of the eight orientations of a square picture is drawn, by its bytes."""
    spec = spec_of(64, 64)
    straight = draw(picture, labels, spec, OFF, 0)
    eight = {}
    for turns in range(4):
        for mirror in (False, True):
            pixels, found = (np.rot90(array, turns) for array in straight)
            if mirror:
                pixels, found = pixels[:, ::-1], found[:, ::-1]
            eight[pixels.tobytes()] = (turns, mirror), found
    assert len(eight) == 8
    drawn = collections.Counter()
    for seed in range(count):
        pixels, found = draw(picture, labels, spec, settings, seed)
        orientation, expected = eight[pixels.tobytes()]
        assert np.array_equal(found, expected)
        drawn[orientation] += 1
    return drawn


def test_every_second_view_is_mirrored_left_to_right():
    drawn = views_of(*blocks(64, 64), dataclasses.replace(OFF, horizontal_flip=True), 200)
    assert set(drawn) == {(0, False), (0, True)}
    assert abs(drawn[0, True] - 100) <= 5 * np.sqrt(200) / 2  # five standard deviations


@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_without_up_and_down_come_in_all_eight_orientations(mirrored):
    settings = dataclasses.replace(OFF, any_orientation=True, horizontal_flip=mirrored)
    drawn = views_of(*blocks(64, 64), settings, 400)
    assert len(drawn) == 8
    # 50 each, within five standard deviations of the binomial distribution.
    assert max(abs(n - 50) for n in drawn.values()) <= 5 * np.sqrt(400 * 1 / 8 * 7 / 8)


def test_a_view_that_is_turned_has_the_turned_pictures_shape():
    settings = dataclasses.replace(OFF, any_orientation=True)
    boxes = {
        box(draw(*flat((9, 9, 9), (200, 100)), spec_of(64, 64), settings, seed)[1])
        for seed in range(20)
    }
    assert boxes == {(32, 64), (64, 32)}


PALE = (160, 110, 120)  # far enough from 0 and 255 that no jitter clips it


def chroma(color):
    """Luma, and length and angle (degrees) of the colour difference, of Rec. 601 / NTSC YIQ."""
    y, i, q = colorsys.rgb_to_yiq(*color)
    return y, np.hypot(i, q), np.degrees(np.arctan2(q, i))


def jittered(settings, seeds=150):
    for seed in range(seeds):
        pixels, _ = draw(*flat(PALE), spec_of(8, 8), settings, seed)
        yield chroma(pixels[0, 0].astype(float))


def test_hue_is_a_circle_around_which_colours_go_both_ways():
    # The tutorial clipped it: red could only become orange, never violet.
    luma, length, angle = chroma(PALE)
    found = list(jittered(dataclasses.replace(OFF, hue=0.05)))
    # Each channel is rounded to 0.5, so I and Q to at most 0.6, and colorsys' matrix has two
    # digits where ours has six: 2 % of the length of 32, 2 degrees.
    for y, size, _ in found:
        assert y == pytest.approx(luma, abs=1)
        assert size == pytest.approx(length, abs=1.3)
    turns = [(turned - angle + 180) % 360 - 180 for _, _, turned in found]
    assert -18 - 3 <= min(turns) <= -14  # 0.05 of the circle is 18 degrees
    assert 14 <= max(turns) <= 18 + 3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("brightness", 100 / 1.3, 100 * 1.3),
        ("contrast", 128 - 28 * 1.3, 128 - 28 / 1.3),  # it turns around the middle grey
    ],
)
def test_brightness_and_contrast_change_by_a_factor_up_or_down(name, low, high):
    settings = dataclasses.replace(OFF, **{name: 0.3})
    values = []
    for seed in range(200):
        pixels, labels = draw(*flat((100, 100, 100)), spec_of(8, 8), settings, seed)
        assert (pixels == pixels[0, 0, 0]).all()  # grey stays grey
        assert (labels == 0).all()
        values.append(int(pixels[0, 0, 0]))
    assert low - 1 <= min(values) <= low + 3
    assert high - 3 <= max(values) <= high + 1


def test_saturation_pales_and_strengthens_without_touching_luma_and_hue():
    luma, length, angle = chroma(PALE)
    found = list(jittered(dataclasses.replace(OFF, saturation=0.4)))
    for y, _, turned in found:
        assert y == pytest.approx(luma, abs=1)
        assert turned == pytest.approx(angle, abs=4)  # rounding at the palest, length 23
    sizes = [size / length for _, size, _ in found]
    assert 1 / 1.4 - 0.04 <= min(sizes) <= 0.76
    assert 1.33 <= max(sizes) <= 1.4 + 0.04


def test_a_grey_picture_comes_to_the_same_as_one_channel():
    random = np.random.default_rng(0)
    grey = Image.fromarray(random.integers(0, 256, (60, 80), np.uint8))
    labels = random.integers(0, 4, (60, 80)).astype(np.uint8)
    for settings in (
        Augmentation(any_orientation=True),
        Augmentation(rotation=30, elastic=2, blur=1.0, noise=0.05),
    ):
        for seed in range(20):
            one, found = draw(grey, labels, spec_of(48, 48), settings, seed)
            three, expected = draw(grey.convert("RGB"), labels, spec_of(48, 48), settings, seed)
            assert np.array_equal(found, expected)
            # The matrix' luma weights add up to 1 only within float32: a rounding may tip over.
            assert np.abs(one.astype(int) - three).max() <= 1


def test_colours_off_leaves_every_colour_exactly():
    # No detour over 8-bit HSV, which would change most colours by a level or two.
    y, x = np.mgrid[:64, :64]
    colors = np.dstack([4 * y, 4 * x, (y * x) % 256]).astype(np.uint8)
    pixels, _ = draw(Image.fromarray(colors), np.zeros((64, 64), np.uint8), spec_of(64, 64), OFF, 0)
    assert np.array_equal(pixels, colors)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)], ids=str)
def test_tiny_and_thin_pictures_pass(size):
    for seed in range(20):
        pixels, labels = draw(*flat((255, 255, 255), size), spec_of(32, 48), Augmentation(), seed)
        assert pixels.shape == (32, 48, 3)
        assert (labels == 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": (0, 1)}, "must be 0 < low <= high"),
        ({"scale": (2, 1)}, "must be 0 < low <= high"),
        ({"scale": (1, float("inf"))}, "high <= 100"),
        ({"aspect": -0.1}, "aspect is -0.1; it must be at least 0"),
        ({"hue": 1}, "hue is 1; it must be"),
        ({"contrast": float("nan")}, "contrast is nan; it must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)


# --- blur and noise ---------------------------------------------------------------------------


def grey(deviation=0.0, seed=0, size=96):
    """A grey picture, flat or of independent pixels."""
    random = np.random.default_rng(seed)
    levels = np.clip(random.normal(128, deviation, (size, size, 1)).round(), 0, 255)
    pixels = np.repeat(levels.astype(np.uint8), 3, axis=-1)
    return Image.fromarray(pixels), np.zeros((size, size), np.uint8)


@pytest.mark.parametrize("warps", [{}, {"rotation": 1e-9}], ids=["cut", "warped"])
def test_noise_is_grey_and_drawn_up_to_its_strength_for_half_of_the_views(warps):
    settings = dataclasses.replace(OFF, noise=0.1, **warps)
    deviations = []
    for seed in range(200):
        pixels, _ = draw(*grey(), spec_of(96, 96), settings, seed)
        assert (pixels == pixels[..., :1]).all()
        found = pixels[4:-4, 4:-4, 0].astype(float)  # away from the edge, which a warp may miss
        deviations.append(found.std())
        # No shift: the mean of 7744 px of 0.1 * 255 at most, five standard errors.
        assert abs(found.mean() - 128) <= 5 * 25.5 / 88 + 0.5
    some = [deviation for deviation in deviations if deviation]
    # Half of 200 views, five standard deviations.
    assert abs(len(some) - 100) <= 5 * np.sqrt(200) / 2
    # Drawn evenly from 0 to 25.5; a deviation is measured to 1 / sqrt(2 * 7744) = 0.8 %. Rounding
    # adds 1/12 to its square and hides grains below 1/2.
    assert 24 <= max(some) <= 25.5 * 1.03
    assert min(some) < 2
    assert np.mean(some) == pytest.approx(25.5 / 2, abs=5 * 25.5 / np.sqrt(12 * 100))


def test_noise_stops_at_black_and_white():
    settings = dataclasses.replace(OFF, noise=0.9)
    for level in (0, 255):
        picture, labels = flat((level,) * 3, (32, 32))
        for seed in range(10):
            pixels, _ = draw(picture, labels, spec_of(32, 32), settings, seed)
            # Half of the grains point outwards and are cut, none wraps around to the other end.
            assert (pixels == level).mean() > 0.4


def test_blur_is_drawn_up_to_its_strength_for_half_of_the_views():
    # Independent pixels of deviation d, blurred by a Gaussian of sigma px: d / (2 sigma sqrt(pi)),
    # as the sum of the squares of its weights is 1 / (4 pi sigma^2).
    settings = dataclasses.replace(OFF, blur=3)
    picture, labels = grey(deviation=30)
    before = np.asarray(picture)[..., 0].std()
    sigmas, sharp = [], 0
    for seed in range(120):
        pixels, _ = draw(picture, labels, spec_of(96, 96), settings, seed)
        after = pixels[8:-8, 8:-8, 0].astype(float).std()
        if np.array_equal(pixels, np.asarray(picture)):
            sharp += 1
        else:
            sigmas.append(before / (2 * after * np.sqrt(np.pi)))
    assert abs(sharp - 60) <= 5 * np.sqrt(120) / 2
    # Pillow stands three box filters for a Gaussian, and 80 x 80 px hold some 80^2 / (4 pi 3^2) =
    # 57 independent values at sigma 3, which give a deviation to 1 / sqrt(2 * 57) = 9 %; two of it.
    assert 2.5 <= max(sigmas) <= 3 * 1.2
    assert min(sigmas) < 0.6


@pytest.mark.parametrize("warps", [{}, {"rotation": 180}], ids=["cut", "warped"])
def test_padding_stays_as_it_is_under_blur_and_noise(warps):
    settings = dataclasses.replace(OFF, scale=(0.5, 0.5), blur=5, noise=0.5, **warps)
    for seed in range(20):
        pixels, found = draw(*flat((255, 255, 255), (48, 48)), spec_of(48, 48), settings, seed)
        assert (pixels[found == IGNORE] == PAD).all()


@pytest.mark.parametrize("warps", [{}, {"rotation": 20}], ids=["cut", "warped"])
def test_at_zero_there_is_neither_blur_nor_noise(warps):
    settings = dataclasses.replace(OFF, **warps)
    picture, labels = grey(deviation=30, size=64)
    same = [
        draw(picture, labels, spec_of(64, 64), dataclasses.replace(settings, **zero), 3)[0]
        for zero in ({}, {"blur": 0.0}, {"noise": 0.0})
    ]
    assert all(np.array_equal(view, same[0]) for view in same)
    if not warps:
        assert np.array_equal(same[0], np.asarray(picture))


def test_labels_are_neither_blurred_nor_noisy():
    picture, labels = blocks(64, 64)
    settings = dataclasses.replace(OFF, blur=5, noise=0.5)
    expected = draw(picture, labels, spec_of(64, 64), OFF, 0)[1]
    for seed in range(10):
        assert np.array_equal(draw(picture, labels, spec_of(64, 64), settings, seed)[1], expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": 181}, "rotation is 181; it must be 0 to 180 degrees"),
        ({"rotation": -1}, "rotation is -1; it must be 0 to 180 degrees"),
        ({"elastic": 51}, "elastic is 51; it must be 0 to 50 px"),
        ({"blur": float("nan")}, "blur is nan; it must be 0 to 50 px"),
        ({"noise": 1}, "noise is 1; it must be at least 0 and below 1"),
    ],
)
def test_strengths_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)
