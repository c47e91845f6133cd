import io
import struct
import zlib

import numpy as np
import pytest
from patterns import decoded, encoded, exif, grey, label_pattern, pattern
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_labels
from unet_edge.images.picture_file import MAX_PIXELS, Header, read_header

# --- orientation ------------------------------------------------------------------------------

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


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_rotated_photo_stands_upright(file_format, orientation):
    stored = pattern(9, 5)
    options = {"exif": exif(orientation)} | ({"quality": 100} if file_format == "JPEG" else {})
    data = encoded(Image.fromarray(stored), file_format, **options)
    raw = np.asarray(Image.open(io.BytesIO(data)))
    if file_format != "JPEG":  # lossy: other pixels, in the same places
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
def test_a_photo_with_a_broken_exif_block_is_read(tmp_path, file_format, broken):
    photo = Image.new("L", (8, 6), 3)
    data = encoded(photo, file_format, exif=b"Exif\0\0" + broken)
    assert decoded(data).shape == (6, 8, 3)
    (tmp_path / "mask").write_bytes(data)
    assert read_labels(tmp_path / "mask").size == (8, 6)


# --- files that are not pictures ---------------------------------------------------------------


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
def test_a_truncated_picture_is_an_error(tmp_path, file_format, share):
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
        (b"hello, world", "is not a picture that can be read; its format must be one of PNG, JPEG"),
        (bytes(5000), "is not a picture that can be read; its format must be one of PNG, JPEG"),
        (b"%PDF-1.7", "is not a picture that can be read; its format must be one of PNG, JPEG"),
    ],
    ids=["empty", "text", "zeros", "pdf"],
)
def test_a_file_that_is_not_a_picture(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ImageError, match=message):
            decode(source)


def test_formats_off_the_list_are_not_parsed():
    data = encoded(Image.new("RGB", (4, 4)), "TGA")
    with pytest.raises(
        ImageError, match="is not a picture that can be read; its format must be one of PNG, JPEG"
    ):
        decode(data)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ImageError, match=r"no such picture: .*absent\.jpg"):
        decode(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        decode(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_001), (60_000, 60_000)])
def test_a_picture_above_the_limit_is_refused_by_its_header(width, height):
    assert width * height > MAX_PIXELS
    with pytest.raises(ImageError, match="more than 178 megapixels, the limit; make it smaller"):
        decode(png_header(width, height))


def test_a_picture_just_below_the_limit_is_not_refused_for_its_size():
    with pytest.raises(ImageError, match="truncated"):  # the file is cut off, but not too large
        decode(png_header(17_000, 10_500))


# --- read_header ------------------------------------------------------------------------------


def test_a_header_is_read_as_stored(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("L", (5, 3)).save(tmp_path / "a.jpg", exif=tags)
    assert read_header(tmp_path / "a.jpg") == Header("JPEG", "L", (5, 3), 1, 6, lossy=True)
    frames = [Image.new("L", (5, 3), shade) for shade in (0, 9, 99)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert read_header(tmp_path / "a.tif") == Header("TIFF", "L", (5, 3), 3, 1)


def test_a_file_without_a_header(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.png is not a picture"):
        read_header(tmp_path / "a.png")
