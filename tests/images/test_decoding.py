import io
import struct

import numpy as np
import pytest
from patterns import WHITE, decoded, encoded, exif, grey, label_pattern, pattern, spec_of
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_colors, read_labels
from unet_edge.images.picture_file import FORMATS
from unet_edge.images.placement import place
from unet_edge.spec import IGNORE

# --- decode: file formats ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("PPM", {}),
    ],
    ids=str,
)
def test_lossless_files_give_their_own_pixels(tmp_path, file_format, options):
    pixels = pattern(31, 17)
    data = encoded(Image.fromarray(pixels), file_format, **options)
    (tmp_path / "photo").write_bytes(data)
    for source in (data, tmp_path / "photo", str(tmp_path / "photo")):
        assert np.array_equal(decoded(source), pixels)


def test_gif_gives_its_palettes_colours():
    picture = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 3]))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    assert decoded(encoded(picture, "GIF")).tolist() == [
        [[10, 20, 30], [40, 50, 60]],
        [[70, 80, 90], [100, 110, 120]],
    ]


def test_jpeg_and_mpo_are_read_as_photos():
    # One flat colour: JPEG's colour transform rounds Y, Cb and Cr to whole numbers, which is at
    # most 1/2 * (1 + 1.772) = 1.4 levels in any channel, and rounds the result once more.
    flat = Image.new("RGB", (16, 16), (200, 30, 60))
    second = Image.new("RGB", (16, 16), (0, 0, 255))
    mpo = encoded(flat, "MPO", save_all=True, append_images=[second], quality=100)
    assert Image.open(io.BytesIO(mpo)).format == "MPO"  # what phones write
    for data in (encoded(flat, "JPEG", quality=100), mpo):
        assert np.abs(decoded(data).astype(int) - (200, 30, 60)).max() <= 2


@pytest.mark.parametrize("file_format", sorted(set(FORMATS) - {"MPO"}))
def test_every_listed_format_can_be_read(file_format):
    assert decode(encoded(Image.new("RGB", (3, 2)), file_format)).size == (3, 2)


# --- decode: modes ----------------------------------------------------------------------------


def test_grey_becomes_three_equal_channels():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decoded(encoded(Image.fromarray(values), "PNG")), grey(values))


def test_one_bit_becomes_black_and_white():
    bits = np.eye(9, dtype=bool)
    for file_format in ("PNG", "TIFF"):
        data = encoded(Image.fromarray(bits), file_format)
        assert np.array_equal(decoded(data), grey(bits * 255))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_over_white(mode):
    color = (40, 90, 220) if mode == "RGBA" else (40, 40, 40)
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.dstack([np.full((16, 16), value, np.uint8) for value in color])
    layer = np.dstack([pixels[..., : len(mode) - 1], alpha])
    found = decoded(encoded(Image.fromarray(layer), "PNG"))

    assert tuple(found[0, 0]) == WHITE  # fully transparent
    assert tuple(found[-1, -1]) == color  # opaque
    share = alpha[..., None] / 255
    exact = pixels * share + 255 * (1 - share)
    # Pillow blends in fixed point with 7 fractional bits, rounding once: half a level and the
    # weight's own error of at most 255 * 2**-8.
    assert np.abs(found - exact).max() <= 0.5 + 255 / 256


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
@pytest.mark.parametrize("transparent", [None, 1])
def test_a_palette_picture_has_its_palettes_colours(file_format, transparent):
    colors = [(10, 20, 30), (200, 100, 50), (0, 255, 1)]
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    picture = Image.frombytes("P", (4, 3), indices.tobytes())
    picture.putpalette([value for color in colors for value in color])
    options = {} if transparent is None else {"transparency": transparent}
    if transparent is not None:
        colors[transparent] = WHITE
    found = decoded(encoded(picture, file_format, **options))
    assert np.array_equal(found, np.array(colors, np.uint8)[indices])


@pytest.mark.parametrize(
    ("mode", "color", "transparency"), [("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3))]
)
def test_a_colour_declared_transparent_is_laid_over_white_too(mode, color, transparency):
    # PNG's tRNS chunk for pictures without a palette, ISO/IEC 15948 section 11.3.2.1
    data = encoded(Image.new(mode, (2, 2), color), "PNG", transparency=transparency)
    assert (decoded(data) == 255).all()


def test_cmyk_inks_subtract_from_white():
    cmyk = np.array(
        [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [7, 7, 7, 255]]], np.uint8
    )
    data = encoded(Image.frombytes("CMYK", (5, 1), cmyk.tobytes()), "TIFF")
    cyan, magenta, yellow = (0, 255, 255), (255, 0, 255), (255, 255, 0)
    assert [tuple(p) for p in decoded(data)[0]] == [WHITE, cyan, magenta, yellow, (0, 0, 0)]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bit_grey_keeps_its_upper_eight_bits(file_format, byte_order):
    # 256 steps over the full range, and the values beside a step.
    values = np.array([0, 1, 255, 256, 257, 511, 512, 32767, 32768, 65279, 65280, 65535])
    if file_format == "PNG":  # one byte order only
        data = encoded(Image.fromarray(values.astype("<u2")[None]), "PNG")
    else:
        data = tiff16(values, byte_order)
    assert np.array_equal(decoded(data)[0], grey(values >> 8))


def tiff16(values, byte_order):
    """The smallest TIFF 6.0 of one row of 16-bit grey, in either byte order."""
    size = len(values)
    head = (b"II" if byte_order == "<" else b"MM") + struct.pack(f"{byte_order}HI", 42, 8)
    entries = [
        (256, 4, size),  # width
        (257, 4, 1),  # height
        (258, 3, 16),  # bits per sample
        (259, 3, 1),  # no compression
        (262, 3, 1),  # black is zero
        (273, 4, 8 + 2 + 9 * 12 + 4),  # where the strip begins
        (277, 3, 1),  # samples per pixel
        (278, 4, 1),  # rows per strip
        (279, 4, 2 * size),  # bytes of the strip
    ]
    directory = struct.pack(f"{byte_order}H", len(entries))
    for tag, kind, value in entries:
        # A SHORT is left-justified in its four bytes.
        body = struct.pack(
            f"{byte_order}HH" if kind == 3 else f"{byte_order}I", *_fill(kind, value)
        )
        directory += struct.pack(f"{byte_order}HHI", tag, kind, 1) + body
    return head + directory + bytes(4) + np.asarray(values, f"{byte_order}u2").tobytes()


def _fill(kind, value):
    return (value, 0) if kind == 3 else (value,)


# --- decode: arrays and Pillow pictures -------------------------------------------------------


def test_an_array_keeps_its_pixels():
    pixels = pattern(6, 4)
    assert np.array_equal(decoded(pixels), pixels)
    assert np.array_equal(decoded(pixels[::-1, ::2]), pixels[::-1, ::2])  # a view


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ImageError, match=r"the array is .*; RGB pixels must be uint8 \(H, W, 3\)"):
        decode(array)


def test_a_pillow_picture_is_decoded_like_its_file():
    stored = Image.fromarray(pattern(9, 5)).convert("L")
    data = encoded(stored, "PNG", exif=exif(6))
    assert np.array_equal(decoded(Image.open(io.BytesIO(data))), decoded(data))


def test_decoding_leaves_the_callers_picture_alone():
    picture = Image.fromarray(pattern(9, 5)).convert("RGBA")
    before = picture.tobytes()
    place(decode(picture), spec_of())
    assert (picture.mode, picture.tobytes()) == ("RGBA", before)


# --- read_labels ------------------------------------------------------------------------------


def test_a_palette_mask_gives_its_indices_not_its_colours(tmp_path):
    indices = label_pattern(7, 5)
    picture = Image.frombytes("P", (7, 5), indices.tobytes())
    picture.putpalette([255, 255, 255, 9, 9, 9, 0, 0, 0, 200, 0, 0, 0, 0, 90])
    picture.save(tmp_path / "mask.png")
    assert np.array_equal(np.asarray(read_labels(tmp_path / "mask.png")), indices)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_a_grey_mask_gives_its_values(tmp_path, file_format):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = tmp_path / "mask"
    Image.fromarray(values).save(path, file_format)
    assert np.array_equal(np.asarray(read_labels(path)), values)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_a_grey_mask_in_several_channels_gives_that_grey(tmp_path, mode):
    values = label_pattern(6, 4)
    alpha = np.arange(24, dtype=np.uint8).reshape(4, 6)  # without meaning in a mask
    bands = [values] * (len(mode) - ("A" in mode)) + [alpha] * ("A" in mode)
    Image.fromarray(np.dstack(bands)).save(tmp_path / "mask.png")
    assert np.array_equal(np.asarray(read_labels(tmp_path / "mask.png")), values)


@pytest.mark.parametrize(
    ("dtype", "suffix"), [(np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif"), ("f4", "tif")]
)
def test_a_wide_mask_of_class_indices_gives_them_unscaled(tmp_path, dtype, suffix):
    path = tmp_path / f"mask.{suffix}"
    values = label_pattern(6, 4)
    values[0, 0] = IGNORE
    Image.fromarray(values.astype(dtype)).save(path)
    assert np.array_equal(np.asarray(read_labels(path)), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 300]], np.uint16), "values from 0 to 300"),
        (np.array([[0, 0.5]], np.float32), "whole numbers"),
        (np.array([[-1, 1]], np.float32), "from -1"),
        (np.array([[np.nan, 1]], np.float32), "whole numbers"),
    ],
    ids=["large", "fraction", "negative", "nan"],
)
def test_a_wide_mask_of_other_values_is_refused(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "mask.tif")
    with pytest.raises(ImageError, match=message):
        read_labels(tmp_path / "mask.tif")


def test_a_one_bit_mask_is_black_and_white(tmp_path):
    Image.fromarray(np.eye(3, dtype=bool)).save(tmp_path / "mask.png")
    assert np.array_equal(np.asarray(read_labels(tmp_path / "mask.png")), np.eye(3) * 255)


def test_a_coloured_mask_is_refused(tmp_path):
    Image.new("RGB", (3, 3), (255, 0, 0)).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match=r"mask\.png is a colour picture \(RGB\)"):
        read_labels(tmp_path / "mask.png")


# --- read_colors ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1"])
def test_colour_masks_are_read_exactly(tmp_path, mode):
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[1:, 2:] = 255 if mode in ("L", "1") else (204, 0, 51)  # colours of Pillow's own palette
    Image.fromarray(pixels).convert(mode).save(tmp_path / "mask.png")
    assert np.array_equal(read_colors(tmp_path / "mask.png"), pixels)


def test_numbers_are_not_colours(tmp_path):
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "mask.png")
    # Pillow 9 opens 16 bits as 32.
    with pytest.raises(ImageError, match=r"mask\.png holds numbers \(I(;16)?\), not colours"):
        read_colors(tmp_path / "mask.png")
