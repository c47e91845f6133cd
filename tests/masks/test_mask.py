import numpy as np
import pytest
from PIL import Image, ImageFont

from unet_edge.errors import ConfigError
from unet_edge.images.mask_file import read_labels
from unet_edge.masks.hatching import hatch
from unet_edge.masks.legend import default_font, drawable
from unet_edge.masks.mask import Mask, save_png
from unet_edge.palette import COLORS, default_palette
from unet_edge.spec import IGNORE, ModelSpec

SPEC = ModelSpec(
    8, 8, ("background", "cat", "dog"), palette=((10, 20, 30), (255, 0, 0), (0, 200, 100))
)
LABELS = np.array([[0, 0, 1, 1], [0, 2, 1, IGNORE]], np.uint8)
MASK = Mask.of(LABELS, SPEC)
GREY = np.full((2, 4, 3), 100, np.uint8)


def test_a_mask_has_the_names_and_colours_of_its_contract():
    assert MASK.classes == SPEC.classes
    assert MASK.palette == SPEC.palette


def test_coverage_is_the_share_of_all_pixels():
    # Ignored pixels belong to no class, so the shares need not add up to 1.
    assert MASK.coverage() == {"background": 3 / 8, "cat": 3 / 8, "dog": 1 / 8}


def test_a_class_that_does_not_occur_covers_nothing():
    assert Mask.of(np.zeros((2, 2), np.uint8), SPEC).coverage()["dog"] == 0


def test_its_text_says_size_and_shares():
    assert repr(MASK) == "Mask(4x2 px: background 37.5%, cat 37.5%, dog 12.5%)"


@pytest.mark.parametrize(("style", "mode"), [("index", "L"), ("palette", "P")])
def test_a_saved_mask_is_read_back_as_the_same_labels(tmp_path, style, mode):
    path = tmp_path / "new folder" / "photo.mask.png"
    MASK.save(path, style)
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", mode)
    assert np.array_equal(np.asarray(read_labels(path)), LABELS)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left


def test_every_label_survives_a_palette_file(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Mask.of(labels, SPEC).save(tmp_path / "mask.png", "palette")
    assert np.array_equal(np.asarray(read_labels(tmp_path / "mask.png")), labels)


def test_colours_are_the_palettes_and_white_where_ignored():
    colors = np.array([*SPEC.palette, (255, 255, 255)], np.uint8)
    expected = colors[np.where(LABELS == IGNORE, 3, LABELS)]
    assert np.array_equal(np.asarray(MASK.colored()), expected)


def test_the_same_mask_gives_the_same_file(tmp_path):
    MASK.save(tmp_path / "a.png")
    MASK.save(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("opacity", "cat", "dog"),
    [
        (0.0, (100, 100, 100), (100, 100, 100)),
        # 128 / 255 of the colour and 127 / 255 of the grey
        (0.5, (178, 50, 50), (50, 150, 100)),
        (1.0, (255, 0, 0), (0, 200, 100)),
    ],
)
def test_an_overlay_tints_all_but_the_background(opacity, cat, dog):
    found = np.asarray(MASK.overlay(GREY, opacity=opacity, legend="none")).astype(int)
    assert (found[LABELS == 0] == 100).all()
    # Stripes of two greys, whatever the opacity, which look like no class.
    assert {tuple(pixel) for pixel in found[LABELS == IGNORE]} <= {(225,) * 3, (140,) * 3}
    # One rounding of opacity * 255 and one of the blend.
    assert np.abs(found[LABELS == 1] - cat).max() <= 1
    assert np.abs(found[LABELS == 2] - dog).max() <= 1


def test_the_legend_is_drawn_into_the_upper_left_corner_only():
    labels = np.zeros((400, 600), np.uint8)
    labels[-1] = np.arange(600) % 3
    mask = Mask.of(labels, SPEC)
    photo = np.full((400, 600, 3), 200, np.uint8)
    assert (np.asarray(mask.overlay(photo, legend="none"))[:-1] == 200).all()
    changed = (np.asarray(mask.overlay(photo)) != 200).any(axis=-1)
    assert changed[:40, :60].any()
    assert not changed[200:-1].any()
    assert not changed[:-1, 300:].any()
    # The swatch of each class but the first
    colors = {tuple(p) for p in np.asarray(mask.overlay(photo)).reshape(-1, 3)}
    assert set(SPEC.palette[1:]) <= colors
    assert SPEC.palette[0] not in colors


def test_a_thumbnail_has_no_room_for_a_legend():
    assert np.array_equal(
        np.asarray(MASK.overlay(GREY)), np.asarray(MASK.overlay(GREY, legend="none"))
    )


def test_an_overlay_does_not_paint_on_the_callers_photo():
    photo = Image.fromarray(np.full((400, 600, 3), 200, np.uint8))
    Mask.of(np.ones((400, 600), np.uint8), SPEC).overlay(photo)
    assert (np.asarray(photo) == 200).all()


def test_a_photo_of_another_size_is_refused():
    with pytest.raises(ConfigError, match=r"photo has 2x4 px, the mask 4x2; they must be equal"):
        MASK.overlay(np.zeros((4, 2, 3), np.uint8))


def test_the_overlay_reads_the_photo_as_the_model_did(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (4, 2)).save(tmp_path / "photo.png", exif=tags)
    spec = ModelSpec(8, 8, ("a", "b"))
    shape = (4, 2)
    overlay = Mask.of(np.ones(shape, np.uint8), spec).overlay(tmp_path / "photo.png", opacity=1)
    assert overlay.size == shape[::-1]
    assert (np.asarray(overlay) == spec.palette[1]).all()


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "mask.png"
    MASK.save(path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot write mode HSV"):
        save_png(Image.new("HSV", (2, 2)), path)
    assert path.read_bytes() == before


def test_characters_that_the_font_of_old_pillow_lacks_are_replaced():
    font = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)()
    with pytest.raises(UnicodeEncodeError):
        font.getlength("猫")
    assert drawable("猫 Straße", font) == "? Straße"
    assert font.getlength("? Straße") > 0
    assert drawable("猫 Straße", default_font(20)) in ("猫 Straße", "? Straße")


def test_a_cutout_keeps_the_photo_where_a_class_is_and_nothing_elsewhere():
    photo = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) + 100
    found = MASK.cutout(photo)
    assert found.mode == "RGBA"
    kept = (LABELS == 1) | (LABELS == 2)
    pixels = np.asarray(found)
    assert np.array_equal(pixels[..., 3], np.where(kept, 255, 0))
    assert np.array_equal(pixels[kept][:, :3], photo[kept])
    assert not pixels[~kept].any()  # the colours are gone too


def test_arrays_of_opencv_need_the_order_bgr():
    photo = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) + 100
    swapped = photo[..., ::-1]
    for picture in (MASK.cutout, MASK.overlay):
        expected = np.asarray(picture(photo))
        assert np.array_equal(np.asarray(picture(swapped, color_order="bgr")), expected)
        assert not np.array_equal(np.asarray(picture(swapped)), expected)


def test_a_cutout_of_another_size_is_refused():
    with pytest.raises(ConfigError, match=r"photo has 2x4 px, the mask 4x2; they must be equal"):
        MASK.cutout(np.zeros((4, 2, 3), np.uint8))


def large(size=(700, 1000)):
    """A mask of three classes and ignored pixels in three strips, and a photo of noise."""
    random = np.random.default_rng(0)
    labels = random.choice(np.array([0, 1, 2, 255], np.uint8), size)
    photo = Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8))
    return Mask(labels, ("a", "b", "c"), ((0, 0, 0), (255, 64, 133), (3, 200, 9))), photo


def test_drawing_in_strips_gives_the_same_as_in_one_piece():
    mask, photo = large()
    alpha = np.where(np.isin(mask.labels, (1, 2)), 128, 0).astype(np.uint8)
    expected = Image.composite(mask.colored(), photo, Image.fromarray(alpha))
    hatch(expected, mask.labels == IGNORE)
    before = photo.tobytes()
    assert np.array_equal(np.asarray(mask.overlay(photo, legend="none")), np.asarray(expected))
    cut = mask.cutout(photo)
    assert photo.tobytes() == before  # the caller's photo stays as it is
    mask.cut_out(photo)
    assert np.array_equal(np.asarray(photo), np.asarray(cut))
    assert np.array_equal(np.asarray(cut)[..., 3] == 255, np.isin(mask.labels, (1, 2)))
    _, photo = large()
    mask.lay_over(photo, legend="none")
    assert np.array_equal(np.asarray(photo), np.asarray(expected))


def test_counting_in_strips_gives_the_same_shares_as_in_one_piece():
    mask, _ = large()
    expected = [float((mask.labels == index).mean()) for index in range(3)]
    assert list(mask.coverage().values()) == expected


def test_a_first_class_that_is_not_a_background_is_coloured_and_named():
    names = ("sky", "tree", "road")
    mask = Mask(np.zeros((300, 400), np.uint8), names, default_palette(names))
    photo = np.full((300, 400, 3), 100, np.uint8)
    middle = np.asarray(mask.overlay(photo, legend="none"))[200, 200].astype(int)
    assert np.abs(middle - (100 + np.array(COLORS[0])) / 2).max() <= 1
    assert not np.array_equal(mask.overlay(photo), mask.overlay(photo, legend="none"))


def test_a_legend_beside_covers_no_photo_and_names_every_class():
    names = ("background", *(f"class {index}" for index in range(10)))
    mask = Mask(np.zeros((360, 480), np.uint8), names, default_palette(names))
    photo = np.full((360, 480, 3), 100, np.uint8)
    picture = mask.overlay(photo, legend="beside")
    assert picture.height == 360
    assert 480 < picture.width < 2 * 480
    assert (np.asarray(picture)[:, :480] == 100).all()
    strip = {tuple(pixel) for pixel in np.asarray(picture)[:, 480:].reshape(-1, 3)}
    assert set(COLORS[:10]) <= strip


def test_a_legend_beside_a_low_photo_leaves_out_rows_that_do_not_fit():
    names = ("background", *(f"class {index}" for index in range(10)))
    mask = Mask(np.zeros((40, 480), np.uint8), names, default_palette(names))
    picture = mask.overlay(np.zeros((40, 480, 3), np.uint8), legend="beside")
    assert picture.height == 40
