"""Pictures of every mode and bit depth become the same 8-bit RGB with every version of Pillow."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from paths import SMALL_BUNDLE
from PIL import Image

from unet_edge.cli import main
from unet_edge.errors import ImageError
from unet_edge.images.bit_depth import UnknownRangeError
from unet_edge.images.decoding import decode, depth_warning, read_photo
from unet_edge.images.picture_file import opened, pages_of
from unet_edge.spec import ModelSpec

WIDTH, HEIGHT = 16, 8
VALUES = (np.arange(WIDTH * HEIGHT, dtype=np.int64) * 516 % 65536).reshape(HEIGHT, WIDTH)
VALUES[0, :4] = 0, 100, 255, 65535


def png(depth: int, kind: int, array: np.ndarray) -> bytes:
    """A PNG with rows as they are; `kind` is its colour type."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = b"".join(b"\0" + row.tobytes() for row in array)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(rows: np.ndarray, bits: int, *, kind: int = 1, channels: int = 1, white: int = 1) -> bytes:
    """An uncompressed little-endian TIFF 6.0; `kind` is its sample format, 3 for floats."""
    data, count = rows.tobytes(), 11
    after = 8 + 2 + 12 * count + 4
    many = struct.pack(f"<{2 * channels}H", *[bits] * channels, *[kind] * channels)
    extra = many if channels > 2 else b""
    entries = [
        (256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, channels, after if extra else bits),
        (259, 3, 1, 1), (262, 3, 1, 2 if channels > 2 else white), (273, 4, 1, after + len(extra)),
        (277, 3, 1, channels), (278, 4, 1, HEIGHT), (279, 4, 1, len(data)), (284, 3, 1, 1),
        (339, 3, channels, after + 2 * channels if extra else kind),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, count)
    return head + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4) + extra + data


def packed_12(values: np.ndarray) -> np.ndarray:
    """Rows of 12-bit values, the first bit first."""
    bits = np.unpackbits(values.astype(">u2").view(np.uint8), axis=-1).reshape(HEIGHT, WIDTH, 16)
    return np.packbits(bits[..., 4:].reshape(HEIGHT, -1), axis=-1)


def stack(channels: int, values: np.ndarray = VALUES) -> np.ndarray:
    return np.stack([np.roll(values, channel, axis=1) for channel in range(channels)], axis=-1)


def saved(mode: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    grey = Image.fromarray((VALUES >> 8).astype(np.uint8))
    picture = Image.merge("RGB", [grey, grey.rotate(180), grey]).convert(mode)
    picture.save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


FEW = VALUES >> 4  # 12 bits
PICTURES: dict[str, tuple[bytes, int | None]] = {
    "PNG 1": (saved("1", format="PNG"), None),
    "PNG 2 grey": (png(2, 0, np.arange(32, dtype=np.uint8).reshape(HEIGHT, 4)), None),
    "PNG 4 grey": (png(4, 0, np.arange(64, dtype=np.uint8).reshape(HEIGHT, 8)), None),
    "PNG 8 grey": (saved("L", format="PNG"), None),
    "PNG 8 grey, alpha": (saved("LA", format="PNG"), None),
    "PNG 8 RGB": (saved("RGB", format="PNG"), None),
    "PNG 8 RGBA": (saved("RGBA", format="PNG"), None),
    "PNG 16 grey": (png(16, 0, VALUES.astype(">u2")), None),
    "PNG 16 grey up to 255": (png(16, 0, (VALUES >> 8).astype(">u2")), None),
    "PNG 16 grey of 12 bits": (png(16, 0, FEW.astype(">u2")), 12),
    "PNG 16 grey of 8 bits": (png(16, 0, (VALUES >> 8).astype(">u2")), 8),
    "PNG 16 grey, alpha": (png(16, 4, stack(2).astype(">u2")), None),
    "PNG 16 RGB": (png(16, 2, stack(3).astype(">u2")), None),
    "PNG 16 RGB of 12 bits": (png(16, 2, stack(3, FEW).astype(">u2")), 12),
    "PNG 16 RGBA": (png(16, 6, stack(4).astype(">u2")), None),
    "PNG 16 RGBA of 10 bits": (png(16, 6, stack(4, VALUES >> 6).astype(">u2")), 10),
    "TIFF 12 grey": (tiff(packed_12(FEW), 12), None),
    "TIFF 16 grey": (tiff(VALUES.astype("<u2"), 16), None),
    "TIFF 16 grey, white is 0": (tiff(VALUES.astype("<u2"), 16, white=0), None),
    "TIFF 16 grey of 12 bits": (tiff(FEW.astype("<u2"), 16), 12),
    "TIFF 16 signed of 12 bits": (tiff((FEW - 100).astype("<i2"), 16, kind=2), 12),
    "TIFF 16 RGB": (tiff(stack(3).astype("<u2"), 16, channels=3), None),
    "TIFF 16 RGB of 12 bits": (tiff(stack(3, FEW).astype("<u2"), 16, channels=3), 12),
    "TIFF 32 of 8 bits": (tiff((VALUES >> 8).astype("<u4"), 32), 8),
    "TIFF 32 signed of 16 bits": (tiff(VALUES.astype("<i4"), 32, kind=2), 16),
    "TIFF float 0..1": (tiff((VALUES / 65535).astype("<f4"), 32, kind=3), None),
    "TIFF float of 8 bits": (tiff((VALUES / 257).astype("<f4"), 32, kind=3), 8),
    "TIFF 8 CMYK": (saved("CMYK", format="TIFF"), None),
    "PGM 4095": (b"P5 16 8 4095\n" + FEW.astype(">u2").tobytes(), None),
    "PGM 65535": (b"P5 16 8 65535\n" + VALUES.astype(">u2").tobytes(), None),
    "PPM 4095": (b"P6 16 8 4095\n" + stack(3, FEW).astype(">u2").tobytes(), None),
    "GIF palette": (saved("P", format="GIF"), None),
    "PNG palette": (saved("P", format="PNG"), None),
}

# Digests of the RGB bytes, the same with Pillow 9.4, 10.4, 11.3, 12.0 and 13.0.
DIGESTS = {
    "PNG 1": "e672cb2b1e9c2348",
    "PNG 2 grey": "e19ef322b351e429",
    "PNG 4 grey": "9bfa43ac2cb5cb1c",
    "PNG 8 grey": "a9f7e42ad23c5be5",
    "PNG 8 grey, alpha": "a9f7e42ad23c5be5",
    "PNG 8 RGB": "46b120ea6f9c74c8",
    "PNG 8 RGBA": "46b120ea6f9c74c8",
    "PNG 16 grey": "53268b90a9213dbd",
    "PNG 16 grey up to 255": "a1a4f5721c1c4610",
    "PNG 16 grey of 12 bits": "53268b90a9213dbd",
    "PNG 16 grey of 8 bits": "53268b90a9213dbd",
    "PNG 16 grey, alpha": "608c003f3ce0f83d",
    "PNG 16 RGB": "0258a81074c5d0ee",
    "PNG 16 RGB of 12 bits": "0258a81074c5d0ee",
    "PNG 16 RGBA": "24a06c7ae045833c",
    "PNG 16 RGBA of 10 bits": "24a06c7ae045833c",
    "TIFF 12 grey": "53268b90a9213dbd",
    "TIFF 16 grey": "53268b90a9213dbd",
    "TIFF 16 grey, white is 0": "2b38ea37526aae1b",
    "TIFF 16 grey of 12 bits": "53268b90a9213dbd",
    "TIFF 16 signed of 12 bits": "a23aa9c5f622e2b0",
    "TIFF 16 RGB": "0258a81074c5d0ee",
    "TIFF 16 RGB of 12 bits": "0258a81074c5d0ee",
    "TIFF 32 of 8 bits": "53268b90a9213dbd",
    "TIFF 32 signed of 16 bits": "53268b90a9213dbd",
    "TIFF float 0..1": "6e7d00dd87d0665a",
    "TIFF float of 8 bits": "6e7d00dd87d0665a",
    "TIFF 8 CMYK": "46b120ea6f9c74c8",
    "PGM 4095": "53268b90a9213dbd",
    "PGM 65535": "53268b90a9213dbd",
    "PPM 4095": "79052c351b7d8d10",
    "GIF palette": "562c4ce70878b997",
    "PNG palette": "562c4ce70878b997",
}


def digest(name: str) -> str:
    data, bit_depth = PICTURES[name]
    return hashlib.sha256(np.asarray(decode(data, bit_depth=bit_depth)).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_bytes_with_every_version_of_pillow(name: str) -> None:
    assert digest(name) == DIGESTS[name]


def grey_of(name: str) -> np.ndarray:
    data, bit_depth = PICTURES[name]
    return np.asarray(decode(data, bit_depth=bit_depth))[..., 0]


UPPER = (VALUES >> 8).astype(np.uint8)


@pytest.mark.parametrize(
    "name",
    [
        *("PNG 16 grey", "PNG 16 grey of 12 bits", "PNG 16 grey of 8 bits", "PNG 16 RGB"),
        *("PNG 16 RGB of 12 bits", "TIFF 12 grey", "TIFF 16 grey", "TIFF 16 grey of 12 bits"),
        *("TIFF 16 RGB", "TIFF 16 RGB of 12 bits", "TIFF 32 of 8 bits", "PGM 65535"),
        "TIFF 32 signed of 16 bits",
    ],
)
def test_a_value_becomes_its_upper_8_bits(name: str) -> None:
    assert np.array_equal(grey_of(name), UPPER)


def test_values_are_not_scaled_by_what_one_picture_holds() -> None:
    # Pillow 9.4 opens it as "I" and converts it to 0..255, Pillow 13 opens it as "I;16": 0.
    assert not grey_of("PNG 16 grey up to 255").any()


def test_floats_are_0_to_1_and_white_may_be_0() -> None:
    expected = np.floor(VALUES / 65535 * 255 + 0.5)
    assert np.abs(grey_of("TIFF float 0..1") - expected).max() <= 1  # float32 rounds
    assert np.array_equal(grey_of("TIFF 16 grey, white is 0"), 255 - UPPER)


def test_values_beyond_the_bit_depth_become_black_and_white() -> None:
    data = tiff(np.where(VALUES > 30000, 5000, -5).astype("<i2"), 16, kind=2)
    found = np.asarray(decode(data, bit_depth=12))[..., 0]
    assert np.array_equal(found, np.where(VALUES > 30000, 255, 0))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(VALUES.astype("<i4"), 32, kind=2), "whole numbers from 0 to 65535 in 32 bits"),
        (
            tiff((VALUES / 257).astype("<f4"), 32, kind=3),
            "floats from 0 to 255; floats must be",
        ),
        (tiff(np.full((HEIGHT, WIDTH), np.nan, "<f4"), 32, kind=3), "floats from nan to nan"),
    ],
)
def test_a_file_that_does_not_say_its_range_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnknownRangeError, match=rf"{message}.*--bit-depth"):
        decode(data)


def test_lower_bits_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(ImageError, match=r"16 bits in a layout .* save it as"):
        decode(PICTURES["PNG 16 grey, alpha"][0], bit_depth=12)


DEEP = [name for name, (_, bit_depth) in PICTURES.items() if bit_depth]


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("decoding", ["full", "scaled"])
def test_an_opened_picture_that_is_not_loaded_is_read_like_its_file(
    name: str, decoding: str, tmp_path: Path
) -> None:
    data, bit_depth = PICTURES[name]
    path = tmp_path / "picture"
    path.write_bytes(data)
    spec = ModelSpec(8, 16, ("a", "b"), decoding=decoding, bit_depth=bit_depth)  # type: ignore[arg-type]
    expected = np.asarray(read_photo(path, spec).picture)
    with Image.open(path) as picture:
        assert np.array_equal(read_photo(picture, spec).picture, expected)
        picture.load()  # the caller can still use it
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(decode(picture, bit_depth=bit_depth), expected)


def test_an_opened_picture_of_16_bits_is_turned_like_its_file(tmp_path: Path) -> None:
    data, _ = PICTURES["PNG 16 RGB of 12 bits"]
    place = data.index(b"IDAT") - 4
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    path = tmp_path / "a.png"
    path.write_bytes(data[:place] + chunk + data[place:])
    with Image.open(path) as picture:
        found = decode(picture, bit_depth=12)
    assert found.size == (HEIGHT, WIDTH)
    assert np.array_equal(found, decode(path, bit_depth=12))


def test_an_opened_picture_whose_lower_bits_cannot_be_read_is_an_error() -> None:
    data = PICTURES["TIFF 16 RGB of 12 bits"][0]
    with Image.open(io.BytesIO(data)) as closed:
        pass
    with pytest.raises(ImageError, match="file was closed"):
        decode(closed, bit_depth=12)


def test_each_page_of_a_file_is_read_with_its_bit_depth(tmp_path: Path) -> None:
    pages = [tiff(stack(3, np.roll(FEW, k)).astype("<u2"), 16, channels=3) for k in range(3)]
    joined = tmp_path / "stack.tif"
    joined.write_bytes(joined_tiff(pages))
    assert pages_of(joined) == [joined / "0001", joined / "0002", joined / "0003"]
    for index, (page, data) in enumerate(zip(pages_of(joined), pages, strict=True)):
        expected = np.asarray(decode(data, bit_depth=12))
        assert np.array_equal(decode(page, bit_depth=12), expected)
        with Image.open(joined) as picture:
            picture.seek(index)
            assert np.array_equal(decode(picture, bit_depth=12), expected)
    with pytest.raises(ImageError, match=r"stack\.tif/0004"):
        decode(joined / "0004")


def joined_tiff(files: list[bytes]) -> bytes:
    """Little-endian TIFF files of `tiff` as pages of one: each file's offsets are moved."""
    whole = bytearray(b"II*\0\x08\0\0\0")
    link = 4  # where the offset of the next page's directory is written
    for file in files:
        start = len(whole) - 8
        whole[link : link + 4] = struct.pack("<I", len(whole))
        directory = bytearray(file[8:])
        (count,) = struct.unpack_from("<H", directory)
        for at in range(2, 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from("<HHII", directory, at)
            is_offset = tag == 273 or number * {3: 2, 4: 4}[kind] > 4
            struct.pack_into("<I", directory, at + 8, value + start if is_offset else value)
        link = len(whole) + 2 + 12 * count
        whole += directory
    return bytes(whole)


@pytest.mark.parametrize("decoding", ["full", "scaled"])
def test_the_contract_says_the_bit_depth(decoding: str, tmp_path: Path) -> None:
    spec = ModelSpec(8, 16, ("a", "b"), decoding=decoding, bit_depth=12)  # type: ignore[arg-type]
    (tmp_path / "a.png").write_bytes(PICTURES["PNG 16 RGB of 12 bits"][0])
    found = np.asarray(read_photo(tmp_path / "a.png", spec).picture)
    assert np.array_equal(found[..., 0], UPPER)


def test_few_bits_are_warned_about(tmp_path: Path) -> None:
    for name in ("PNG 16 RGB of 12 bits", "PNG 16 grey of 12 bits", "TIFF 16 RGB of 12 bits"):
        data = PICTURES[name][0]
        found = depth_warning(data, None, decode(data))
        assert found is not None
        assert found.startswith("has 16 bits a channel, and its brightest value becomes 15 of 255")
        assert "--bit-depth" in found
        assert depth_warning(data, 12, decode(data)) is None
    for name in ("PNG 16 RGB", "PNG 8 RGB", "TIFF 12 grey", "TIFF float 0..1", "PPM 4095"):
        data = PICTURES[name][0]
        assert depth_warning(data, None, decode(data)) is None


@pytest.mark.parametrize("options", [(), ("--tiles", "--tile-scale", "1")])
def test_segment_decodes_a_picture_of_16_bits_once(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counting(source: object, *, load: bool = True, **settings: object) -> object:
        if load:
            decoded.append(source)
        return opened(source, load=load, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("unet_edge.images.decoding.opened", counting)
    (tmp_path / "a.png").write_bytes(PICTURES["PNG 16 RGB"][0])
    bundle = SMALL_BUNDLE
    arguments = ["segment", str(bundle), str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*arguments, "--save", "palette", *options])
    assert done.exit_code == 0, done.output
    assert decoded == [tmp_path / "a.png"]


def test_segment_and_data_check_warn_alike(tmp_path: Path) -> None:
    old = SMALL_BUNDLE
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:6, 3:9] = 1
    for n in range(4):
        data = png(16, 2, np.roll(stack(3, FEW), n, axis=0).astype(">u2"))
        (tmp_path / "images" / f"{n}.png").write_bytes(data)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{n}.png")
    photos = str(tmp_path / "images")
    segmented = CliRunner().invoke(main, ["segment", str(old), photos, "-o", str(tmp_path / "out")])
    assert segmented.exit_code == 0
    assert segmented.stderr.count("becomes 15 of 255; if its camera has") == 1
    checked = CliRunner().invoke(main, ["data", "check", str(tmp_path), "--json"])
    found = [f for f in json.loads(checked.stdout)["findings"] if f["kind"] == "sixteen-bit"]
    assert len(found) == 4
    assert "becomes 15 of 255" in found[0]["found"]


def test_a_training_states_its_bit_depth() -> None:
    from unet_edge.training.settings.train_config import TrainConfig

    config = TrainConfig(data=Path("data"), bit_depth=12)
    assert config.spec().bit_depth == 12
    assert "bit_depth = 12" in config.to_toml()
    assert TrainConfig(data=Path("data")).spec().bit_depth is None


if __name__ == "__main__":  # print what another version of Pillow gives
    sys.stdout.write("".join(f'    "{name}": "{digest(name)}",\n' for name in PICTURES))
