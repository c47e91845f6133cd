import hashlib
import io
import struct
import zlib
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from unet_edge.errors import ConfigError, ImageError
from unet_edge.imaging import (
    FILTERS,
    FORMATS,
    MAX_PIXELS,
    Header,
    Placement,
    decode,
    grid_of,
    place,
    read_colors,
    read_header,
    read_labels,
    read_photo,
    reduction,
    resize_labels,
)
from unet_edge.spec import IGNORE, ModelSpec

WHITE = (255, 255, 255)


def pattern(width, height):
    """A photo from whole numbers alone, the same on every machine: RGB, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    channels = (7 * x + 3 * y, x * y // 5 + 11 * x, (x * x + 9 * y) // 4)
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)


def label_pattern(width, height, classes=5):
    """Labels that differ from pixel to pixel, uint8 (H, W)."""
    rows, columns = 5 * np.arange(height), 3 * np.arange(width)
    total = np.add.outer((rows % classes).astype(np.uint16), (columns % classes).astype(np.uint16))
    return (total % classes).astype(np.uint8)


def spec_of(size=(224, 320), **changes):
    return ModelSpec(*size, classes=("a", "b"), **changes)


def encoded(picture, file_format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def decoded(data):
    picture = decode(data)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=-1)


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
def test_every_format_we_name_can_be_read(file_format):
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
    # 256 steps over the whole range, and the values beside a step.
    values = np.array([0, 1, 255, 256, 257, 511, 512, 32767, 32768, 65279, 65280, 65535])
    if file_format == "PNG":  # one byte order only
        data = encoded(Image.fromarray(values.astype("<u2")[None]), "PNG")
    else:
        data = tiff16(values, byte_order)
    assert np.array_equal(decoded(data)[0], grey(values >> 8))


def test_whole_numbers_of_eight_bits_in_a_wide_file_are_left_alone():
    values = np.array([[0, 1, 254, 255]], np.int32)
    assert np.array_equal(decoded(encoded(Image.fromarray(values), "TIFF")), grey(values))


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


# --- decode: orientation ----------------------------------------------------------------------

# What the viewer must do to the stored pixels: EXIF 2.32, tag 0x0112.
UPRIGHT = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_rotated_photo_stands_upright(file_format, orientation):
    stored = pattern(9, 5)
    options = {"exif": exif(orientation)} | ({"quality": 100} if file_format == "JPEG" else {})
    data = encoded(Image.fromarray(stored), file_format, **options)
    raw = np.asarray(Image.open(io.BytesIO(data)))
    if file_format != "JPEG":  # lossy; its pixels are whatever they are, but placed the same
        assert np.array_equal(raw, stored)
    assert raw.shape == stored.shape
    assert np.array_equal(decoded(data), UPRIGHT[orientation](raw))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_decoded_photo_is_not_turned_again(file_format, mode):
    picture = Image.fromarray(pattern(9, 5)).convert(mode)
    once = decode(encoded(picture, file_format, exif=exif(6)))
    assert once.size == (5, 9)
    assert np.array_equal(decoded(once), np.asarray(once))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_rotated_tiff_stands_upright(orientation):
    # Orientation is one of TIFF's own tags (TIFF 6.0, page 36), and Pillow applies it on load.
    stored = pattern(9, 5)
    data = encoded(Image.fromarray(stored), "TIFF", exif=exif(orientation))
    assert np.array_equal(decoded(data), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_mask_turns_with_its_photo(tmp_path, orientation):
    stored = label_pattern(9, 5)
    Image.fromarray(stored).save(tmp_path / "mask.png", exif=exif(orientation))
    found = np.asarray(read_labels(tmp_path / "mask.png"))
    assert np.array_equal(found, UPRIGHT[orientation](grey(stored))[..., 0])


@pytest.mark.parametrize(
    ("file_format", "broken"),
    [
        ("PNG", b"XXXXXXXX"),
        ("PNG", b"II*\0\xff\xff\xff\x7f"),
        ("JPEG", b"XXXXXXXX"),
        ("JPEG", b"II*\0\xff\xff\xff\x7f"),
    ],
    ids=repr,
)
def test_a_broken_exif_block_does_not_cost_the_photo(tmp_path, file_format, broken):
    photo = Image.new("L", (8, 6), 3)
    data = encoded(photo, file_format, exif=b"Exif\0\0" + broken)
    assert decoded(data).shape == (6, 8, 3)
    (tmp_path / "mask").write_bytes(data)
    assert read_labels(tmp_path / "mask").size == (8, 6)


# --- decode: arrays and Pillow pictures -------------------------------------------------------


def test_an_array_is_taken_as_it_is():
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
    with pytest.raises(ImageError, match=r"expected RGB pixels as uint8 \(H, W, 3\), got "):
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


# --- decode: what is no picture ---------------------------------------------------------------


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_picture_is_an_error_never_half_a_picture(tmp_path, file_format, share):
    data = encoded(Image.fromarray(pattern(64, 64)), file_format)
    path = tmp_path / "photo.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"photo\.img"):
        decode(path)
    with pytest.raises(ImageError, match=r"photo\.img"):
        read_labels(path)


def test_a_truncated_pillow_picture_is_an_error_too():
    data = encoded(Image.fromarray(pattern(64, 64)), "PNG")
    with pytest.raises(ImageError):
        decode(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, world", "is not a picture this tool reads"),
        (bytes(5000), "is not a picture this tool reads"),
        (b"%PDF-1.7", "is not a picture this tool reads"),
    ],
    ids=["empty", "text", "zeros", "pdf"],
)
def test_a_file_that_is_no_picture(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ImageError, match=message):
            decode(source)


def test_formats_off_the_list_are_not_parsed():
    data = encoded(Image.new("RGB", (4, 4)), "TGA")
    with pytest.raises(ImageError, match="is not a picture this tool reads"):
        decode(data)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ImageError, match=r"no such picture: .*absent\.jpg"):
        decode(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        decode(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_001), (60_000, 60_000)])
def test_a_picture_above_the_limit_is_refused_by_its_header(width, height):
    assert width * height > MAX_PIXELS
    with pytest.raises(ImageError, match="more than 178 megapixels, the limit"):
        decode(png_header(width, height))


def test_a_picture_just_below_the_limit_is_not_refused_for_its_size():
    with pytest.raises(ImageError, match="truncated"):  # it is, but it is not too large
        decode(png_header(17_000, 10_500))


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
    alpha = np.arange(24, dtype=np.uint8).reshape(4, 6)  # of no meaning in a mask
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


# --- Placement --------------------------------------------------------------------------------

SIZES = [(1, 1), (1, 5000), (5000, 1), (3, 2), (223, 319), (640, 480), (4000, 3000)]
GRIDS = [(224, 224), (224, 320), (512, 512)]
CASES = [(size, grid, fit) for size in SIZES for grid in GRIDS for fit in ("letterbox", "stretch")]

every_placement = pytest.mark.parametrize(("size", "grid", "fit"), CASES, ids=str)


def planned(size, grid, fit):
    return Placement.plan(size, spec_of(grid, fit=fit))


@every_placement
def test_the_box_lies_in_the_middle_of_the_grid(size, grid, fit):
    p = planned(size, grid, fit)
    assert (p.width, p.height) == size
    assert p.placed_height >= 1
    assert p.placed_width >= 1
    for start, filled, whole in (
        (p.top, p.placed_height, grid[0]),
        (p.left, p.placed_width, grid[1]),
    ):
        after = whole - start - filled
        assert 0 <= start <= after <= start + 1  # an odd pixel goes below and to the right
    assert p.placed_height == grid[0] or p.placed_width == grid[1]
    if fit == "stretch":
        assert (p.placed_height, p.placed_width) == grid


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_letterbox_keeps_the_aspect_to_half_a_pixel(size, grid):
    width, height = size
    p = planned(size, grid, "letterbox")
    scale = min(Fraction(grid[0], height), Fraction(grid[1], width))
    for placed, exact in ((p.placed_height, height * scale), (p.placed_width, width * scale)):
        # Rounding to whole px moves a side by at most half a px; a side that rounds to nothing
        # is kept at one.
        assert abs(placed - exact) <= Fraction(1, 2) or (placed == 1 and exact < Fraction(1, 2))


def test_half_a_pixel_is_rounded_up():
    # 5 x 3 into 224 x 320: 320 * 3 / 5 = 192. 64 x 3 into 32 x 32: 32 * 3 / 64 = 1.5.
    assert planned((5, 3), (224, 320), "letterbox").placed_height == 192
    assert planned((64, 3), (32, 32), "letterbox").placed_height == 2
    assert planned((3, 64), (32, 32), "letterbox").placed_width == 2


@every_placement
def test_the_picture_fills_the_box_and_the_padding_colour_the_rest(size, grid, fit):
    # White on the default grey, so that no pixel can be both.
    p = planned(size, grid, fit)
    placed = p.place(Image.new("RGB", size, WHITE))
    assert placed.dtype == np.uint8
    assert placed.shape == (*grid, 3)
    expected = np.full((*grid, 3), 128, np.uint8)
    expected[p.top : p.top + p.placed_height, p.left : p.left + p.placed_width] = 255
    assert np.array_equal(placed, expected)


def test_the_padding_colour_is_the_contracts():
    spec = spec_of((4, 8), pad_color=(1, 2, 3))
    placed = place(Image.new("RGB", (4, 4), WHITE), spec)
    assert placed[0].tolist() == [[1, 2, 3]] * 2 + [[255] * 3] * 4 + [[1, 2, 3]] * 2


@pytest.mark.parametrize("resample", FILTERS)
def test_a_picture_of_the_grids_size_passes_unchanged(resample):
    pixels = pattern(32, 24)
    spec = spec_of((24, 32), resample=resample)
    assert np.array_equal(place(Image.fromarray(pixels), spec), pixels)


def test_the_filter_is_the_contracts():
    # 4 px to 1. Box is the plain mean, 200 / 4. Bilinear weighs px 0 to 5 around the centre at
    # 2 by 5, 7, 7, 5, 3, 1: 200 * 5 / 28. Bicubic (a = -1/2) is neither.
    row = Image.fromarray(grey([[0, 0, 0, 200] + 12 * [0]]))
    found = {
        name: int(place(row, spec_of((1, 4), fit="stretch", resample=name))[0, 0, 0])
        for name in FILTERS
    }
    assert found["box"] == 50
    assert found["bilinear"] == 36
    assert found["bicubic"] not in (50, 36)


def test_passes_run_in_one_order_on_every_pillow():
    # Each pass rounds to 8 bits, so their order shows. Pillow 13 runs the vertical pass first
    # where that is cheaper (python-pillow/Pillow#9549); all before it, horizontal first. A model
    # trained with one must see the same pixels on a device that has the other.
    picture = Image.fromarray(pattern(300, 700))
    for resample, used in FILTERS.items():
        expected = picture.resize((320, 700), used).resize((320, 224), used)
        placed = place(picture, spec_of((224, 320), fit="stretch", resample=resample))
        assert np.array_equal(placed, np.asarray(expected))


def test_shrinking_is_antialiased():
    # A checkerboard becomes grey: without antialiasing some grid pixels would be black or white.
    board = grey((np.indices((448, 448)).sum(axis=0) % 2) * 255)
    placed = place(Image.fromarray(board), spec_of((224, 224), resample="box"))
    assert set(np.unique(placed)) <= {127, 128}  # 127.5 rounded


@every_placement
def test_a_placed_mask_is_ignored_outside_the_box(size, grid, fit):
    p = planned(size, grid, fit)
    placed = p.place_labels(np.ones(size[::-1], np.uint8))
    assert placed.dtype == np.uint8
    expected = np.full(grid, IGNORE, np.uint8)
    expected[p.top : p.top + p.placed_height, p.left : p.left + p.placed_width] = 1
    assert np.array_equal(placed, expected)


UPSCALED = [(1, 1), (3, 2), (2, 3), (7, 5), (100, 75), (113, 111), (224, 100), (160, 224)]


@pytest.mark.parametrize("size", UPSCALED, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_a_mask_survives_the_way_to_a_finer_grid_and_back(size, grid, fit):
    # With s source px on p >= s cells, pixel j's centre lies in cell i = floor((j + 1/2) p / s),
    # whose centre is at most half a cell, s / (2 p) <= 1/2 px, from it: still inside pixel j.
    p = planned(size, grid, fit)
    if p.placed_height < p.height or p.placed_width < p.width:
        pytest.skip("the box is smaller than the picture")
    mask = label_pattern(*size)
    assert np.array_equal(p.restore(p.place_labels(mask)), mask)


@every_placement
def test_a_restored_pixel_is_of_the_cell_its_centre_falls_in(size, grid, fit):
    p = planned(size, grid, fit)
    cells = (np.arange(grid[0] * grid[1]) * 37 % 251).astype(np.uint8).reshape(grid)

    def cell(count, start, placed):
        return [start + floor((j + Fraction(1, 2)) * placed / count) for j in range(count)]

    rows = cell(p.height, p.top, p.placed_height)
    columns = cell(p.width, p.left, p.placed_width)
    restored = p.restore(cells)
    assert restored.dtype == np.uint8
    assert np.array_equal(restored, cells[np.ix_(rows, columns)])


@every_placement
def test_a_placed_label_is_of_the_pixel_its_centre_falls_in(size, grid, fit):
    p = planned(size, grid, fit)
    mask = label_pattern(*size, classes=251)
    rows = [
        floor((i + Fraction(1, 2)) * p.height / p.placed_height) for i in range(p.placed_height)
    ]
    columns = [
        floor((i + Fraction(1, 2)) * p.width / p.placed_width) for i in range(p.placed_width)
    ]
    box = p.place_labels(mask)[p.top : p.top + p.placed_height, p.left : p.left + p.placed_width]
    assert np.array_equal(box, mask[np.ix_(rows, columns)])


def test_picture_and_mask_land_in_the_same_place():
    # A white rectangle, whose mask is itself: apart from the pixels on its edge, which the
    # filter blends, grid and label grid agree.
    mask = np.zeros((300, 500), np.uint8)
    mask[60:200, 110:350] = 1
    p = planned((500, 300), (224, 320), "letterbox")
    pixels = p.place(Image.fromarray(grey(mask * 255)))[..., 0]
    labels = p.place_labels(mask)
    assert ((pixels == 255) <= (labels == 1)).all()
    assert ((pixels == 0) <= (labels == 0)).all()
    blended = (pixels != 0) & (pixels != 255) & (labels != IGNORE)
    # Bilinear reaches one source px of 0.64 cells around a centre: at most 2 cells on each side
    # of the four edges, and the corners twice.
    assert blended.sum() <= 2 * 2 * 2 * (140 + 240) * 0.64


def test_restoring_does_not_hand_out_the_grid_itself():
    p = planned((224, 224), (224, 224), "letterbox")
    cells = label_pattern(224, 224)
    p.restore(cells)[:] = 9
    assert cells.max() < 9


@pytest.mark.parametrize(
    "mistake",
    [
        lambda p: p.place(Image.new("RGB", (480, 640))),
        lambda p: p.place_labels(np.zeros((640, 480), np.uint8)),
        lambda p: p.restore(np.zeros((320, 224), np.uint8)),
        lambda p: Placement.plan((0, 5), p.spec),
    ],
    ids=["picture", "mask", "grid", "nothing"],
)
def test_sizes_that_do_not_fit_are_refused(mistake):
    with pytest.raises(ConfigError):
        mistake(planned((640, 480), (224, 320), "letterbox"))


def test_resizing_labels_never_invents_a_label():
    labels = np.array([[0, IGNORE], [7, 0]], np.uint8)
    for height, width in ((1, 1), (3, 5), (9, 2)):
        assert set(np.unique(resize_labels(labels, height, width))) <= {0, 7, IGNORE}


# --- golden grids -----------------------------------------------------------------------------


def photo(mode, size):
    """The pattern in one of Pillow's modes."""
    pixels = pattern(*size)
    match mode:
        case "I;16":
            wide = pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]
            return Image.fromarray(wide)
        case "P":
            picture = Image.frombytes("P", size, pixels[..., 2].tobytes())
            picture.putpalette(pattern(256, 1).tobytes())
            return picture
        case "RGBA" | "CMYK":
            return Image.frombytes(mode, size, np.dstack([pixels, pixels[..., :1]]).tobytes())
        case "LA":
            return Image.frombytes(mode, size, np.ascontiguousarray(pixels[..., :2]).tobytes())
        case "L":
            return Image.fromarray(pixels[..., 1])
    return Image.fromarray(pixels)


# The SHA-256 of each grid. Every machine and every supported Pillow must give these bytes: a
# model's masks are promised to be the same everywhere, and it starts here.
GOLDEN = {
    ("RGB", (640, 480), "letterbox", "bilinear"): (
        "a687d42e740e63cbffab74b93a483665a3190ec669afa3b0d1d0c32441874e9d"
    ),
    ("RGB", (640, 480), "letterbox", "bicubic"): (
        "e8ce6d2ea9bef24b8bc2b9ef4616817659bd72ee67aa97c2e1b4583f467d3b02"
    ),
    ("RGB", (640, 480), "letterbox", "box"): (
        "47fefef82410167715558ee6c7d8a0463b788c8604d8314020c8765de4554aa8"
    ),
    ("RGB", (640, 480), "stretch", "bilinear"): (
        "3bfa385af61526d96af91bb269d5005a2146f66316539d61c853acbe7c422987"
    ),
    ("RGB", (640, 480), "stretch", "bicubic"): (
        "09af868485e68572b267e52353aef8b1ef79f9f89c4644664786dbfc30ef7fdb"
    ),
    ("RGB", (640, 480), "stretch", "box"): (
        "2a636c83b7bde9af957a4c0f85405005e560efcdf163403ac0af5abae8b64bb8"
    ),
    ("RGB", (300, 700), "letterbox", "bilinear"): (
        "004372444347067d8e564b58d5e121b12edb4e2f39b66a0b25b5a527dd36eafd"
    ),
    ("RGB", (300, 700), "letterbox", "bicubic"): (
        "ad1201f8e98c5fbd09cffc2b03e4d9fb934b46cc87b023e986d5322a4329ec88"
    ),
    ("RGB", (300, 700), "letterbox", "box"): (
        "05a3143df2475c4c15d094d5ee10c1b33571b34e0d3d43652b0f4d3b97d12735"
    ),
    ("RGB", (300, 700), "stretch", "bilinear"): (
        "7a84f860fb4769121f5c083938467dfe5841267ff4294e31deaf1f122e9a977b"
    ),
    ("RGB", (300, 700), "stretch", "bicubic"): (
        "ed183ae568883b55c7ddcc2b13999613ac9b55ec210a5895a85017ef9565dd1b"
    ),
    ("RGB", (300, 700), "stretch", "box"): (
        "afcd2d1ef21d7a02f9f8e5f1cd67f44d006a1e49b9a68a0bac3ecbada60d7ee4"
    ),
    ("RGB", (50, 40), "letterbox", "bilinear"): (
        "f3c65aabb54043f12a3a93d7a50b84da43721ccd410bc9bb72ad59436c0f968e"
    ),
    ("RGB", (50, 40), "letterbox", "bicubic"): (
        "ebb7aaffd07d1368562d69ee1b8d01203e06f423ebff469d3fde5b73adab0f95"
    ),
    ("RGB", (50, 40), "letterbox", "box"): (
        "612c5def567f5654ced0fc02614bf585b3f28b229ba80eaf1791cc5e05fd6925"
    ),
    ("RGB", (50, 40), "stretch", "bilinear"): (
        "4a6bf6943492f669b4b0a1ac538ed79dfc77a8d376805930d6e45aecaaad4aa8"
    ),
    ("RGB", (50, 40), "stretch", "bicubic"): (
        "f971dccd306f95df652c08f5b3fcecccc70f1c652191b805f748ebc83a2512ce"
    ),
    ("RGB", (50, 40), "stretch", "box"): (
        "bf178111ca64a32f5e2bdb82c59b09c04fb2de7b31fd7fdecf9875642d7b7a79"
    ),
    ("L", (401, 263), "letterbox", "bilinear"): (
        "6355cfef95f623b1644e29d1b1551d31ec456f6c38fc15e48feb1714f1628beb"
    ),
    ("LA", (401, 263), "letterbox", "bilinear"): (
        "418c9cda61d6e402d1333b01d47aef3bd7f1e30c7964ea65379e89e2ce246f84"
    ),
    ("P", (401, 263), "letterbox", "bilinear"): (
        "740bf813b84664949553bf01011683b15088e8a8b85fc68e403b88fbc46e244b"
    ),
    ("RGBA", (401, 263), "letterbox", "bilinear"): (
        "7267a6405667546d1bc7acc6f106e7b4ebad4c4ba994c193d61d3eac03270f74"
    ),
    ("CMYK", (401, 263), "letterbox", "bilinear"): (
        "452e5310e7f788a3e099535e0daa0617e075ea8af865374d9f342656b0ae4053"
    ),
    ("I;16", (401, 263), "letterbox", "bilinear"): (
        "34e9106cb04273606286c3f3b6f862978fc2cc30404ea14ea37ae94dcda83188"
    ),
}


@pytest.mark.parametrize(("case", "digest"), GOLDEN.items(), ids=str)
def test_grids_have_the_same_bytes_on_every_machine(case, digest):
    mode, size, fit, resample = case
    grid = place(decode(photo(mode, size)), spec_of(fit=fit, resample=resample))
    assert hashlib.sha256(grid.tobytes()).hexdigest() == digest


# --- read_photo: scaled decoding --------------------------------------------------------------


# 200x136 px, both divisible by 8 and not by 16: the encoder's blocks of 16 px stand out. Waves
# from whole numbers, saved by Pillow 13 at quality 85; files, so that the encoder has no say.
JPEGS = Path(__file__).parent / "data" / "jpeg"


def scaled(size=(64, 64), **changes):
    return spec_of(size, decoding="scaled", **changes)


# What the decoder divides photos by, by hand: the largest of 8, 4, 2 that divides both sides and
# leaves each at least 1.25 times the box on the grid.
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


@pytest.mark.parametrize(("case", "factor"), REDUCTIONS.items(), ids=str)
def test_what_the_decoder_divides_by(case, factor):
    size, grid = case
    assert reduction(size, scaled(grid)) == factor
    assert reduction(size[::-1], scaled(grid)) == factor  # the grids are square


def test_a_stretched_photo_is_reduced_by_what_both_sides_allow():
    # 1600x400 on 128x128: 8 leaves 200x50, 4 leaves 400x100, 2 leaves 800x200 (1.56 times).
    assert reduction((1600, 400), scaled((128, 128), fit="stretch")) == 2
    # Letterboxed it fills 128x32: 8 leaves 200x50, 1.56 times both.
    assert reduction((1600, 400), scaled((128, 128))) == 8


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(4000, 3000), (336, 1008), (2592, 4608), (1600, 48)], ids=str)
def test_a_reduced_photo_fills_the_same_box(fit, size):
    spec = scaled((224, 320), fit=fit)
    factor = reduction(size, spec)
    reduced = Placement.plan((size[0] // factor, size[1] // factor), spec)
    assert reduced.box == Placement.plan(size, spec).box


# The SHA-256 of decoded pixels. libjpeg-turbo's scaled inverse DCTs are whole-number arithmetic,
# and its own tests hold the SIMD code of x86 and ARM to the bytes of the C code.
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
    assert (photo.size, photo.whole) == ((200, 136), factor == 1)
    assert photo.picture.size == (200 // factor, 136 // factor)
    assert photo.picture.mode == "RGB"
    assert hashlib.sha256(photo.picture.tobytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["grey", "420", "444", "cmyk"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_photo_shows_the_same_as_the_whole_one(name, factor):
    whole = decoded((JPEGS / f"{name}.jpg").read_bytes()).astype(float)
    reduced = np.asarray(
        read_photo(JPEGS / f"{name}.jpg", scaled((136 // factor, 132 // factor))).picture
    ).astype(float)
    means = whole.reshape(136 // factor, factor, 200 // factor, factor, 3).mean((1, 3))
    difference = abs(reduced - means).mean()
    # A picture that is moved by one of its own pixels differs far more.
    moved = min(abs(reduced[1:] - means[:-1]).mean(), abs(reduced[:, 1:] - means[:, :-1]).mean())
    assert difference < 3
    assert difference < moved / 4
    if (name, factor) == ("grey", 8):
        # An eighth is each block's mean value itself, up to its rounding and the whole one's.
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


def test_full_decoding_is_what_it_was(tmp_path):
    path = JPEGS / "420.jpg"
    photo = read_photo(path, spec_of((16, 16)))
    assert photo.whole
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
    assert photo.whole
    assert np.array_equal(np.asarray(photo.picture), np.asarray(decode(data)))


def test_arrays_and_pillow_pictures_are_used_as_they_are():
    pixels, spec = pattern(160, 160), scaled((8, 8))
    lazy = Image.open(JPEGS / "420.jpg")
    for source in (pixels, Image.fromarray(pixels), lazy):
        photo = read_photo(source, spec)
        assert photo.whole
        assert photo.picture.size == (lazy.size if source is lazy else (160, 160))
    swapped = read_photo(pixels[..., ::-1], spec, "bgr")
    assert np.array_equal(np.asarray(swapped.picture), pixels)
    with pytest.raises(ConfigError, match="color_order is for arrays"):
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


def test_lossless_jpeg_is_decoded_in_full_where_it_can_be():
    # 64x96 px of noise, saved by libjpeg-turbo 3. It has no DCT that could be scaled; libjpeg-turbo
    # before 3 reads none of it.
    path = JPEGS / "lossless.jpg"
    try:
        whole = decode(path)
    except ImageError:
        with pytest.raises(ImageError, match="damaged"):
            read_photo(path, scaled((8, 8)))
        return
    photo = read_photo(path, scaled((8, 8)))
    assert photo.whole
    assert np.array_equal(np.asarray(photo.picture), np.asarray(whole))


def test_a_damaged_photo_is_refused_when_reduced_too(tmp_path):
    data = (JPEGS / "420.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"cut\.jpg is damaged"):
        read_photo(tmp_path / "cut.jpg", scaled((8, 8)))


def test_a_placement_takes_the_whole_photo_or_the_one_its_contract_reduces_to():
    spec = scaled((16, 16))
    planned = Placement.plan((200, 136), spec)
    for factor in (1, 8):
        assert planned.place(Image.new("RGB", (200 // factor, 136 // factor))).shape == (16, 16, 3)
    for size, contract in (((100, 68), spec), ((25, 17), spec_of((16, 16)))):
        with pytest.raises(ConfigError, match="the placement is for 200x136 px"):
            Placement.plan((200, 136), contract).place(Image.new("RGB", size))


# --- read_colors and read_header --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1"])
def test_colour_masks_are_read_exactly(tmp_path, mode):
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[1:, 2:] = 255 if mode in ("L", "1") else (204, 0, 51)  # of Pillow's own palette
    Image.fromarray(pixels).convert(mode).save(tmp_path / "mask.png")
    assert np.array_equal(read_colors(tmp_path / "mask.png"), pixels)


def test_numbers_are_no_colours(tmp_path):
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "mask.png")
    # Pillow 9 opens 16 bits as 32.
    with pytest.raises(ImageError, match=r"mask\.png holds numbers \(I(;16)?\), not colours"):
        read_colors(tmp_path / "mask.png")


def test_a_header_is_read_as_stored(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("L", (5, 3)).save(tmp_path / "a.jpg", exif=tags)
    assert read_header(tmp_path / "a.jpg") == Header("JPEG", "L", (5, 3), 1, 6)
    frames = [Image.new("L", (5, 3), shade) for shade in (0, 9, 99)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert read_header(tmp_path / "a.tif") == Header("TIFF", "L", (5, 3), 3, 1)


def test_a_header_that_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.png is not a picture"):
        read_header(tmp_path / "a.png")
