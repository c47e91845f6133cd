import hashlib
import io

import numpy as np
import pytest
from paths import JPEGS
from patterns import decoded, encoded, exif, pattern, spec_of
from PIL import Image, ImageOps

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.decoding import decode, grid_of, read_photo
from unet_edge.images.placement import Placement, place
from unet_edge.images.scaled_decoding import reduction

# 200x136 px, both divisible by 8 but not by 16, so that the encoder's blocks of 16 px reach beyond
# the edge. Waves made with integers, saved by Pillow 13 at quality 85. Committed as files, so that
# the encoder does not matter.


def scaled(size=(64, 64), **changes):
    return spec_of(size, decoding="scaled", **changes)


# Factors computed by hand: the largest of 8, 4, 2 that divides both sides and leaves each at least
# 1.25 times as long as the box on the grid.
REDUCTIONS = {
    # A Raspberry Pi's cameras and a phone's 12 megapixels; 4000x3000 fills 512x384 and 224x168.
    ((4000, 3000), (512, 512)): 4,  # 1000/512 = 1.95; 500/512 is too small
    ((4000, 3000), (384, 384)): 8,  # 500/384 = 1.3
    ((4000, 3000), (224, 224)): 8,  # 500/224 = 2.2
    ((4056, 3040), (512, 512)): 4,  # camera module HQ; 4056 = 8 x 507, 3040 = 8 x 380
    ((4608, 2592), (512, 512)): 4,  # camera module 3
    ((3280, 2464), (512, 512)): 4,  # camera module 2
    ((4032, 3024), (224, 224)): 8,
    ((2028, 1520), (224, 224)): 4,  # 2028 = 4 x 507
    ((768, 768), (512, 512)): 1,
    ((1280, 1280), (512, 512)): 2,  # exactly 1.25
    ((1278, 1278), (512, 512)): 1,
    ((640, 480), (224, 224)): 2,  # 320/224 = 1.4
    ((640, 480), (288, 288)): 1,  # 320/288 = 1.1
    ((4001, 3000), (224, 224)): 1,  # odd
    ((4002, 3000), (224, 224)): 2,
    ((4000, 30), (224, 224)): 2,  # 30 = 2 x 15
}


def factor_of(size, spec):
    return reduction(size, Placement.plan(size, spec).placed_size)


@pytest.mark.parametrize(("case", "factor"), REDUCTIONS.items(), ids=str)
def test_the_factor_of_reduction(case, factor):
    size, grid = case
    assert factor_of(size, scaled(grid)) == factor
    assert factor_of(size[::-1], scaled(grid)) == factor  # the grids are square


def test_a_stretched_photo_is_reduced_by_a_factor_that_both_sides_allow():
    # 1600x400 on 128x128: 8 leaves 200x50, 4 leaves 400x100, 2 leaves 800x200 (1.56 times).
    assert factor_of((1600, 400), scaled((128, 128), fit="stretch")) == 2
    # Letterboxed it fills 128x32: 8 leaves 200x50, 1.56 times both.
    assert factor_of((1600, 400), scaled((128, 128))) == 8


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(4000, 3000), (336, 1008), (2592, 4608), (1600, 48)], ids=str)
def test_a_reduced_photo_fills_the_same_box(fit, size):
    spec = scaled((224, 320), fit=fit)
    factor = factor_of(size, spec)
    reduced = Placement.plan((size[0] // factor, size[1] // factor), spec)
    assert reduced.box == Placement.plan(size, spec).box


# The SHA-256 of decoded pixels. libjpeg-turbo's scaled inverse DCTs use integers, and its own tests
# compare the SIMD code of x86 and ARM with the bytes of the C code.
SCALED = {
    ("420", 1): ("52a5d1fd442cc91eca1eb4e60ac88473ef8d4fe0f43d0954ff312b731cd2db3a"),
    ("420", 2): ("6168898fac7e0225acd36ed3565d906b272448fda85680089583f1be5cf79818"),
    ("420", 4): ("786d9a03fec404b63af4771f796ffe16991bd3272f6143772287e7af836e3e74"),
    ("420", 8): ("b7b67d5cfb7958be6a148c853cc6464b69091a1a0954f529f26dfbe8c2232622"),
    ("422", 1): ("5099cce4f19eb4a6fc48d6fd8541a74f6b2de60fa4e283429be49e7985407005"),
    ("422", 2): ("c59abd8ed61c3af668f48d54c3eb1adbf9f00e023bf5e4034c4f89676ac05bff"),
    ("422", 4): ("6ef792c53289312132438f509885721dc186dc5a3d8ae9ef943c6a7bf083e8a1"),
    ("422", 8): ("d8ee6ee878ec988a413416803d458e48f87bf85aa9e3b7ef2bc5cbfe16f85830"),
    ("444", 1): ("9f91a527eb3b367a7a87f607c2e5795b582d06206d1bb4aed6792df9186d4427"),
    ("444", 2): ("447fa5725d6a99d313d093d85eeda22e31e9c90f40e9d172a712b62b77c06ef9"),
    ("444", 4): ("198a4c52ec56415c8e5f51952e77da0f07dea9468ce4e827094bee4b7a099abc"),
    ("444", 8): ("4ab750751aec92508bff211c55242fb5552892ae7deee0ecefd02875a1bbd451"),
    ("progressive", 1): ("52a5d1fd442cc91eca1eb4e60ac88473ef8d4fe0f43d0954ff312b731cd2db3a"),
    ("progressive", 2): ("6168898fac7e0225acd36ed3565d906b272448fda85680089583f1be5cf79818"),
    ("progressive", 4): ("786d9a03fec404b63af4771f796ffe16991bd3272f6143772287e7af836e3e74"),
    ("progressive", 8): ("b7b67d5cfb7958be6a148c853cc6464b69091a1a0954f529f26dfbe8c2232622"),
    ("grey", 1): ("f2562886144cb857753cd8589003063a31a3dfa635c47764a4cb71ce95961a6f"),
    ("grey", 2): ("ddf8d30e55268b9c14d65526c88f74e6ca7b6731de667c8b21226cb1c57b756d"),
    ("grey", 4): ("a2f1babd1ed7565e7b930a3373fcb90d7440c3fe9936c215601b40d9e91995f8"),
    ("grey", 8): ("fe36abe9a84d464afd6d58b367a4b96570d025ba8923a0a901fa2673ea31e5e1"),
    ("cmyk", 1): ("f66231322781813a05afd6b471caf2605e6367b2a57ec6cac998a16ce6ea15ea"),
    ("cmyk", 2): ("b47e70986085183950bfe5e5057a597df719f5a7823a9e881572deba34d785d7"),
    ("cmyk", 4): ("a8083c6be42205cee62f19e39148ec4f909157e0c468c9915d603b7fb90b38f5"),
    ("cmyk", 8): ("96f8743eb29c4e62d11a099ae517638bc18def662a17fe3bc4ffd5e208da9b8c"),
}


@pytest.mark.parametrize(("case", "digest"), SCALED.items(), ids=str)
def test_scaled_decoding_has_the_same_bytes_on_every_machine(case, digest):
    name, factor = case
    photo = read_photo(JPEGS / f"{name}.jpg", scaled((136 // factor, 132 // factor)))
    assert (photo.size, photo.is_full_size) == ((200, 136), factor == 1)
    assert photo.picture.size == (200 // factor, 136 // factor)
    assert photo.picture.mode == "RGB"
    assert hashlib.sha256(photo.picture.tobytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["grey", "420", "444", "cmyk"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_photo_shows_the_same_as_the_full_one(name, factor):
    whole = decoded((JPEGS / f"{name}.jpg").read_bytes()).astype(float)
    reduced = np.asarray(
        read_photo(JPEGS / f"{name}.jpg", scaled((136 // factor, 132 // factor))).picture
    ).astype(float)
    means = whole.reshape(136 // factor, factor, 200 // factor, factor, 3).mean((1, 3))
    difference = abs(reduced - means).mean()
    # A picture shifted by one pixel differs far more.
    moved = min(abs(reduced[1:] - means[:-1]).mean(), abs(reduced[:, 1:] - means[:, :-1]).mean())
    assert difference < 3
    assert difference < moved / 4
    if (name, factor) == ("grey", 8):
        # At an eighth, each pixel is the mean of a block, up to the rounding of both pictures.
        assert abs(reduced - means).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photo_is_upright(tmp_path, orientation):
    # 400x200 stored. Upright it fills 84x42 of the grid, of which 200x100 are 2.4 times and 100x50
    # 1.2 times, or 24x48, of which 50x100 are 2.1 times and 25x50 too small.
    picture = Image.fromarray(pattern(400, 200))
    picture.save(tmp_path / "a.jpg", exif=exif(orientation))
    spec = scaled((48, 84))
    photo = read_photo(tmp_path / "a.jpg", spec)
    stored = Image.open(tmp_path / "a.jpg")
    factor = 4 if orientation >= 5 else 2
    stored.draft(None, (400 // factor, 200 // factor))
    expected = ImageOps.exif_transpose(stored)
    assert photo.size == ((200, 400) if orientation >= 5 else (400, 200))
    assert photo.picture.size == (photo.size[0] // factor, photo.size[1] // factor)
    assert np.array_equal(np.asarray(photo.picture), np.asarray(expected))


def test_full_decoding_reduces_nothing(tmp_path):
    path = JPEGS / "420.jpg"
    photo = read_photo(path, spec_of((16, 16)))
    assert photo.is_full_size
    assert np.array_equal(np.asarray(photo.picture), np.asarray(decode(path)))
    assert np.array_equal(grid_of(path, spec_of()), place(decode(path), spec_of()))


def test_a_photo_that_is_not_reduced_has_the_bytes_of_full_decoding():
    path = JPEGS / "420.jpg"
    assert np.array_equal(grid_of(path, scaled((128, 192))), grid_of(path, spec_of((128, 192))))


def test_files_bytes_and_a_photo_that_was_read_give_the_same_grid():
    path, spec = JPEGS / "420.jpg", scaled((16, 24))
    grid = grid_of(path, spec)
    assert not np.array_equal(grid, grid_of(path, spec_of((16, 24))))  # it was reduced
    for source in (str(path), path.read_bytes(), read_photo(path, spec)):
        assert np.array_equal(grid_of(source, spec), grid)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF"])
def test_other_files_are_decoded_in_full(file_format):
    data = encoded(Image.fromarray(pattern(160, 160)), file_format)
    photo = read_photo(data, scaled((8, 8)))
    assert photo.is_full_size
    assert np.array_equal(np.asarray(photo.picture), np.asarray(decode(data)))


def test_arrays_and_pillow_pictures_are_used_as_they_are():
    pixels, spec = pattern(160, 160), scaled((8, 8))
    lazy = Image.open(JPEGS / "420.jpg")
    for source in (pixels, Image.fromarray(pixels), lazy):
        photo = read_photo(source, spec)
        assert photo.is_full_size
        assert photo.picture.size == (lazy.size if source is lazy else (160, 160))
    swapped = read_photo(pixels[..., ::-1], spec, "bgr")
    assert np.array_equal(np.asarray(swapped.picture), pixels)
    with pytest.raises(ConfigError, match="color_order is 'bgr', and the picture is not an array"):
        read_photo(JPEGS / "420.jpg", spec, "bgr")


def test_the_first_picture_of_a_cameras_mpo_is_reduced_as_a_jpeg():
    pictures = [Image.fromarray(pattern(160, 160)), Image.new("RGB", (80, 80))]
    data = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    photo = read_photo(data, scaled((8, 8)))
    assert (photo.size, photo.picture.size) == ((160, 160), (20, 20))
    assert np.array_equal(
        np.asarray(photo.picture),
        np.asarray(read_photo(encoded(pictures[0], "JPEG"), scaled((8, 8))).picture),
    )


def test_lossless_jpeg_is_decoded_in_full_or_refused():
    # 64x96 px of noise, saved by libjpeg-turbo 3. It has no DCT that could be scaled, and older
    # libjpeg-turbo cannot read it.
    path = JPEGS / "lossless.jpg"
    try:
        whole = decode(path)
    except ImageError:
        with pytest.raises(ImageError, match="damaged"):
            read_photo(path, scaled((8, 8)))
        return
    photo = read_photo(path, scaled((8, 8)))
    assert photo.is_full_size
    assert np.array_equal(np.asarray(photo.picture), np.asarray(whole))


def test_a_damaged_photo_is_refused_when_reduced_too(tmp_path):
    data = (JPEGS / "420.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"cut\.jpg is damaged"):
        read_photo(tmp_path / "cut.jpg", scaled((8, 8)))


def test_a_placement_takes_the_full_photo_or_the_reduced_one():
    spec = scaled((16, 16))
    planned = Placement.plan((200, 136), spec)
    for factor in (1, 8):
        assert planned.place(Image.new("RGB", (200 // factor, 136 // factor))).shape == (16, 16, 3)
    for size, contract in (((100, 68), spec), ((25, 17), spec_of((16, 16)))):
        with pytest.raises(ConfigError, match="px; the placement is for 200x136 px"):
            Placement.plan((200, 136), contract).place(Image.new("RGB", size))
