"""Layouts of pixels: where each sample is, with padded rows and odd sizes."""

import subprocess
from typing import get_args

import numpy as np
import pytest
from patterns import pattern
from system_programs import require_program

from unet_edge.errors import ConfigError, ImageError
from unet_edge.streams.pixel_layouts import PixelFormat, PixelLayout, pixel_format
from unet_edge.streams.yuv import rgb_of_yuv
from unet_edge.streams.yuv_colors import YuvColors

PIXELS = pattern(5, 3)
PACKED = {
    "rgb24": PIXELS,
    "bgr24": PIXELS[..., ::-1],
    "rgba": np.dstack((PIXELS, np.full((3, 5), 255, np.uint8))),
    "bgra": np.dstack((PIXELS[..., ::-1], np.full((3, 5), 255, np.uint8))),
    "rgb0": np.dstack((PIXELS, np.full((3, 5), 7, np.uint8))),
    "bgr0": np.dstack((PIXELS[..., ::-1], np.zeros((3, 5), np.uint8))),
}


def padded(rows, stride):
    """Rows of bytes with rubbish behind each."""
    rows = rows.reshape(len(rows), -1)
    result = np.full((len(rows), stride), 213, np.uint8)
    result[:, : rows.shape[1]] = rows
    return result


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("padding", [0, 3, 12])
def test_packed_pixels(name, padding):
    array = PACKED[name]
    stride = 5 * array.shape[2] + padding
    layout = PixelLayout(name, (5, 3), stride if padding else 0)
    data = padded(array, stride)
    assert layout.frame_bytes == data.nbytes
    assert np.array_equal(layout.rgb(data.tobytes()), PIXELS)
    # Drivers may leave out the padding behind the last row.
    assert np.array_equal(layout.rgb(data.tobytes()[: data.nbytes - padding]), PIXELS)


def test_alpha_is_laid_over_white():
    half = np.uint8([[[255, 0, 0, 0], [255, 0, 0, 255]]])
    assert PixelLayout("rgba", (2, 1)).rgb(half.tobytes()).tolist() == [
        [[255, 255, 255], [255, 0, 0]]
    ]


def test_grey_becomes_three_equal_channels():
    grey = PIXELS[..., 0]
    rgb = PixelLayout("gray", (5, 3), 8).rgb(padded(grey, 8).tobytes())
    assert np.array_equal(rgb, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("padding", [0, 2, 26])
@pytest.mark.parametrize("name", ["yuv420p", "nv12", "nv21"])
def test_planes_of_yuv(name, padding):
    generator = np.random.default_rng(3)
    y = generator.integers(0, 256, (3, 5), dtype=np.uint8)
    u, v = generator.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    colors = YuvColors("bt709", full_range=True)
    # Without padding, two rows of U have half of 6, since half of 5 is rounded up.
    stride = 6 + padding
    planes = [padded(y, stride)]
    if name == "yuv420p":
        planes += [padded(u, stride // 2), padded(v, stride // 2)]
    else:
        pairs = (u, v) if name == "nv12" else (v, u)
        planes += [padded(np.stack(pairs, axis=-1), stride)]
    data = b"".join(plane.tobytes() for plane in planes)
    layout = PixelLayout(name, (5, 3), stride, colors)
    assert layout.frame_bytes == len(data)
    assert np.array_equal(layout.rgb(data), rgb_of_yuv(y, u, v, colors))


@pytest.mark.parametrize("name", ["yuyv422", "uyvy422"])
def test_packed_yuv(name):
    generator = np.random.default_rng(4)
    y = generator.integers(0, 256, (3, 6), dtype=np.uint8)
    u, v = generator.integers(0, 256, (2, 3, 3), dtype=np.uint8)
    quads = (y[:, ::2], u, y[:, 1::2], v) if name == "yuyv422" else (u, y[:, ::2], v, y[:, 1::2])
    layout = PixelLayout(name, (5, 3), 16)
    data = padded(np.stack(quads, axis=-1), 16).tobytes()
    assert np.array_equal(layout.rgb(data), rgb_of_yuv(y[:, :5], u, v, layout.colors))


@pytest.mark.parametrize("name", get_args(PixelFormat))
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_a_frame_has_as_many_bytes_as_ffmpeg_writes(name, size):
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    width, height = size
    color = (0x10, 0x60, 0xC0)
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
         "-i", "-", "-f", "rawvideo", "-pix_fmt", name, "-"],
        input=bytes(color) * width * height, capture_output=True, check=True,
    )  # fmt: skip
    layout = PixelLayout(name, size)
    assert layout.frame_bytes == len(done.stdout)
    if name == "gray":
        color = 3 * (round(0.299 * 0x10 + 0.587 * 0x60 + 0.114 * 0xC0),)
    # Without the last odd column and row, where ffmpeg averages colours with bytes beyond them. YUV
    # of 8 bits has steps of up to 2 levels, and is rounded twice.
    pixels = layout.rgb(done.stdout)[: height // 2 * 2, : width // 2 * 2]
    assert np.abs(pixels.astype(int) - color).max() <= 3


def test_too_few_bytes_are_refused():
    with pytest.raises(ImageError, match="has 44 bytes; rgb24 of 5x3 px has 45"):
        PixelLayout("rgb24", (5, 3)).rgb(bytes(44))
    with pytest.raises(ConfigError, match="a stride of 14 bytes for rows of 15"):
        PixelLayout("rgb24", (5, 3), 14)
    with pytest.raises(ConfigError, match="at least 1"):
        PixelLayout("rgb24", (0, 3))


def test_other_programs_names_of_formats():
    assert pixel_format("I420") == "yuv420p"
    assert pixel_format("YUY2") == "yuyv422"
    assert pixel_format("BGRx") == "bgr0"
    with pytest.raises(ConfigError, match=r"yuv9 is unknown.*-pix_fmt rgb24"):
        pixel_format("yuv9")
