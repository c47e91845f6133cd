"""Every mode is decoded in bounded memory; strips give the same pixels as the picture at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images import decoding, strips
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_colors, read_labels

_SIZE = (4000, 3000)

# A program that decodes one picture and prints how many bytes a pixel its peak memory grew by.
_PEAK = f"""
import sys
from pathlib import Path
from unet_edge.images.decoding import decode
from unet_edge.system.timing import peak_memory
before = peak_memory()
picture = decode(Path(sys.argv[1]), bit_depth=16)
assert picture.mode == "RGB" and sorted(picture.size) == {sorted(_SIZE)}
print((peak_memory() - before) * 2**20 / {_SIZE[0] * _SIZE[1]})
"""


def saved(path: Path, kind: str, size: tuple[int, int]) -> Path:
    """A noisy picture of a mode, some with transparency or an EXIF orientation."""
    random = np.random.default_rng(3)
    width, height = size
    mode, _, extra = kind.partition(" ")
    settings: dict[str, Any] = {}
    tile = random.integers(0, 255, (50, width, 4), np.uint8)
    pixels = np.tile(tile, (-(-height // 50), 1, 1))[:height]
    match mode:
        case "I;16" | "I":
            values = pixels[..., 0].astype(np.uint16 if mode == "I;16" else np.int32)
            picture = Image.fromarray(values * 200)
        case "F":
            picture = Image.fromarray(pixels[..., 0].astype(np.float32))
        case "P":
            picture = Image.fromarray(pixels[..., 0]).convert("P")
            picture.putpalette(list(range(255, -1, -1)) * 3)
        case "LA":
            picture = Image.fromarray(np.ascontiguousarray(pixels[..., :2]), "LA")
        case _:
            picture = Image.fromarray(pixels, "RGBA").convert(mode)
    if extra == "transparent":
        settings["transparency"] = {"P": bytes(range(256)), "L": 7, "RGB": (1, 2, 3)}[mode]
    if extra == "turned":
        exif = Image.Exif()
        exif[0x112] = 6
        settings["exif"] = exif
    file = path / ("picture.tif" if mode in ("CMYK", "I", "F") else "picture.png")
    how = {"compress_level": 1} if file.suffix == ".png" else {"compression": "tiff_lzw"}
    picture.save(file, **how, **settings)
    return file


_KINDS = (
    "RGB", "RGB transparent", "RGB turned", "RGBA", "RGBA turned", "P", "P transparent", "L",
    "L transparent", "LA", "1", "I;16", "I", "F", "CMYK",
)  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
def test_no_more_than_two_pictures_of_four_bytes_a_pixel(tmp_path: Path, kind: str) -> None:
    file = saved(tmp_path, kind, _SIZE)
    command = [sys.executable, "-c", _PEAK, str(file)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    # 8 bytes a pixel for the stored and the finished picture, one strip, and the bytes of the file.
    beside = 30 * strips.STRIP_PIXELS + file.stat().st_size
    assert float(child.stdout) < 8 + beside / (_SIZE[0] * _SIZE[1]) + 0.5


# Masks of the same modes, whose values are labels.
_MASK_KINDS = ("L", "L turned", "P", "P turned", "1", "LA", "I;16", "I", "F", "RGB", "RGBA turned")

_PEAK_OF_LABELS = f"""
import sys
from pathlib import Path
from unet_edge.images.mask_file import {{read}}
from unet_edge.system.timing import peak_memory
before = peak_memory()
labels = {{read}}(Path(sys.argv[1]))
print((peak_memory() - before) * 2**20 / {_SIZE[0] * _SIZE[1]})
"""


def saved_mask(path: Path, kind: str, size: tuple[int, int]) -> Path:
    """A mask of small values in a mode; a palette's bytes compress to little."""
    mode, _, extra = kind.partition(" ")
    width, height = size
    tile = np.random.default_rng(3).integers(0, 2, (50, width), np.uint8)
    values = np.tile(tile, (-(-height // 50), 1))[:height]
    match mode:
        case "P":
            picture = Image.fromarray(values)
            picture.putpalette([200, 0, 0, 0, 90, 7])
        case "1":
            picture = Image.fromarray(values * 255).convert("1")
        case "I;16" | "I" | "F":
            kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
            picture = Image.fromarray(values.astype(kinds[mode]))
        case _:
            picture = Image.fromarray(values).convert(mode)
    exif = Image.Exif()
    if extra == "turned":
        exif[0x112] = 6
    file = path / ("mask.tif" if mode in ("I", "F") else "mask.png")
    how = {"compress_level": 1} if file.suffix == ".png" else {"compression": "tiff_lzw"}
    picture.save(file, **how, **({"exif": exif} if extra else {}))  # type: ignore[arg-type]
    return file


@pytest.mark.parametrize("kind", _MASK_KINDS)
def test_labels_take_no_more_than_a_photo(tmp_path: Path, kind: str) -> None:
    file = saved_mask(tmp_path, kind, _SIZE)
    command = [sys.executable, "-c", _PEAK_OF_LABELS.format(read="read_labels"), str(file)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    beside = 30 * strips.STRIP_PIXELS + file.stat().st_size
    assert float(child.stdout) < 8 + beside / (_SIZE[0] * _SIZE[1]) + 0.5


@pytest.mark.parametrize("kind", ["P", "RGB", "RGBA turned"])
def test_colours_of_masks_take_no_more_than_a_photo(tmp_path: Path, kind: str) -> None:
    file = saved_mask(tmp_path, kind, _SIZE)
    command = [sys.executable, "-c", _PEAK_OF_LABELS.format(read="read_colors"), str(file)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    beside = 30 * strips.STRIP_PIXELS + file.stat().st_size
    assert float(child.stdout) < 8 + beside / (_SIZE[0] * _SIZE[1]) + 0.5


@pytest.mark.parametrize("kind", _MASK_KINDS)
def test_strips_of_a_mask_give_its_labels(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved_mask(tmp_path, kind, (61, 47))
    whole = np.asarray(read_labels(file))
    assert set(np.unique(whole)) == ({0, 255} if kind == "1" else {0, 1})
    assert whole.shape == ((61, 47) if kind.endswith("turned") else (47, 61))
    colors = None if kind in ("I;16", "I", "F") else read_colors(file)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 61 * 10)
    assert np.array_equal(np.asarray(read_labels(file)), whole)
    assert colors is None or np.array_equal(read_colors(file), colors)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (np.uint16(256), "holds values from 0 to 256; class indices must be whole numbers"),
        (np.float32(0.5), "holds values from 0.0 to 0.5; class indices must be whole numbers"),
        (np.array([1, 2, 3], np.uint8), r"is a colour picture \(RGB\); it must hold class indices"),
    ],
)
def test_the_last_strip_of_a_mask_counts(
    tmp_path: Path, last: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((20, 10, *last.shape), last.dtype)
    pixels[-1, -1] = last
    Image.fromarray(pixels).save(tmp_path / "mask.tif")
    monkeypatch.setattr(strips, "STRIP_PIXELS", 10 * 3)
    with pytest.raises(ImageError, match=message):
        read_labels(tmp_path / "mask.tif")


@pytest.mark.parametrize("kind", _KINDS)
def test_strips_give_what_the_whole_picture_gives(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path, kind, (61, 47))
    whole = np.asarray(decode(file, bit_depth=16))
    monkeypatch.setattr(strips, "STRIP_PIXELS", 61 * 10)
    assert np.array_equal(np.asarray(decode(file, bit_depth=16)), whole)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 1)
    with Image.open(file) as opened:
        assert np.array_equal(np.asarray(decode(opened, bit_depth=16)), whole)
        opened.load()  # the caller's picture is not closed


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path, "RGBA", (61, 47))

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "to_rgb", fail)
    with pytest.raises(ImageError, match=r"picture.png needs more memory than is free"):
        decode(file)
    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(ImageError, match=r"picture.png needs more memory than is free"):
        decode(file)
