"""YUV as RGB: against the formula in exact arithmetic, and against ffmpeg's bit-exact paths."""

import subprocess

import numpy as np
import pytest
from system_programs import require_program

from unet_edge.streams.pixel_layouts import PixelLayout
from unet_edge.streams.yuv import rgb_of_yuv
from unet_edge.streams.yuv_colors import YuvColors


def exact(y, u, v, red, blue, *, full_range):
    """ITU-R BT.601-7 and BT.709-6, solved for R, G and B."""
    green = 1 - red - blue
    y, u, v = (plane.astype(np.float64) for plane in (y, u, v))
    if not full_range:
        y, u, v = (y - 16) * 255 / 219, 128 + (u - 128) * 255 / 224, 128 + (v - 128) * 255 / 224
    r = y + 2 * (1 - red) * (v - 128)
    b = y + 2 * (1 - blue) * (u - 128)
    g = (y - red * r - blue * b) / green
    return np.clip(np.stack((r, g, b), axis=-1), 0, 255)


@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)]
)
@pytest.mark.parametrize("full_range", [True, False])
def test_every_value_is_the_exact_one_rounded(matrix, red, blue, full_range):
    values = np.arange(0, 256, 3, dtype=np.uint8)
    y, u, v = (plane.reshape(len(values), -1) for plane in np.meshgrid(values, values, values))
    y, u, v = (np.ascontiguousarray(plane) for plane in (y, u, v))
    pixels = rgb_of_yuv(y, u, v, YuvColors(matrix, full_range))
    error = np.abs(pixels - exact(y, u, v, red, blue, full_range=full_range))
    # Three table values of 5 binary places, each rounded by at most 1/64; then the sum is rounded.
    assert error.max() <= 0.5 + 3 / 64 + 1e-9


def test_a_colour_sample_holds_for_the_pixels_that_share_it():
    y = np.full((3, 5), 128, np.uint8)
    u, v = np.random.default_rng(1).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    full = [np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1)[:3, :5] for plane in (u, v)]
    colors = YuvColors("bt601", full_range=False)
    assert np.array_equal(rgb_of_yuv(y, u, v, colors), rgb_of_yuv(y, *full, colors))
    assert rgb_of_yuv(y, u, v, colors).shape == (3, 5, 3)


@pytest.mark.parametrize("name", ["yuv420p", "nv12", "nv21", "yuyv422", "uyvy422"])
def test_pixels_are_those_of_ffmpeg(name):
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    layout = PixelLayout(name, (64, 48))
    # Video's own range: beyond it, swscale overflows to 0 where blue is above 255.
    samples = np.random.default_rng(2).integers(16, 236, layout.frame_bytes, dtype=np.uint8)
    data = samples.tobytes()
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", name, "-s", "64x48", "-i", "-",
         # swscale's exact path, without interpolation of colour samples
         "-sws_flags", "neighbor+accurate_rnd+full_chroma_int+bitexact",
         "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        input=data, capture_output=True, check=True,
    )  # fmt: skip
    theirs = np.frombuffer(done.stdout, np.uint8).reshape(48, 64, 3)
    # swscale scales samples to 15 bits and back, which may round a value the other way.
    difference = np.abs(layout.rgb(data).astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.95
