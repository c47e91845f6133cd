"""Layouts of pixels in memory, as cameras and ffmpeg name them, and their conversion to RGB.

| format | bytes of a frame of W x H |
|---|---|
| rgb24, bgr24 | rows of R, G, B, or of B, G, R |
| rgba, bgra | rows of four bytes; A is alpha, laid over white |
| rgb0, bgr0 | rows of four bytes; the last has no meaning |
| gray | rows of one byte |
| yuv420p | a plane of Y, W x H; a plane of U and then one of V, half as wide and high (I420) |
| nv12, nv21 | a plane of Y; a plane of half the height with U, V pairs, or V, U pairs |
| yuyv422, uyvy422 | rows of Y0, U, Y1, V for two pixels, or of U, Y0, V, Y1 |

Halves of odd sizes are rounded up. `stride` is the distance of two rows in bytes, which drivers
make longer than a row; planes of U or V alone have half of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never, cast, get_args

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.pixel_arrays import ChannelOrder, picture_of_array
from unet_edge.images.placement import Pixels
from unet_edge.streams.yuv import rgb_of_yuv
from unet_edge.streams.yuv_colors import YuvColors

PixelFormat = Literal[
    "rgb24", "bgr24", "rgba", "bgra", "rgb0", "bgr0", "gray",
    "yuv420p", "nv12", "nv21", "yuyv422", "uyvy422",
]  # fmt: skip
"""The names of ffmpeg's -pix_fmt."""

Samples = NDArray[np.uint8]

VIDEO_COLORS = YuvColors("bt601", full_range=False)
"""YUV of cameras and pipes that do not say what theirs is, as ffmpeg reads it."""

_PACKED: dict[PixelFormat, ChannelOrder] = {
    "rgb24": "rgb", "bgr24": "bgr", "rgba": "rgba", "bgra": "bgra", "rgb0": "rgbx", "bgr0": "bgrx",
}  # fmt: skip

# Other programs' names of these formats: GStreamer, V4L2, OpenCV.
_ALIASES = {
    "rgb": "rgb24", "bgr": "bgr24", "rgbx": "rgb0", "bgrx": "bgr0", "grey": "gray",
    "gray8": "gray", "y8": "gray", "i420": "yuv420p", "yu12": "yuv420p", "yuyv": "yuyv422",
    "yuy2": "yuyv422", "uyvy": "uyvy422",
}  # fmt: skip


def pixel_format(name: str) -> PixelFormat:
    """The format that a name means, in any case. Raises ConfigError for an unknown one."""
    known = _ALIASES.get(name.lower(), name.lower())
    if known not in get_args(PixelFormat):
        raise ConfigError(
            f"the pixel format {name} is unknown",
            expected=f"it must be one of {', '.join(get_args(PixelFormat))}",
            fix="let ffmpeg convert, with -pix_fmt rgb24",
        )
    return cast(PixelFormat, known)


@dataclass(frozen=True)
class PixelLayout:
    """The layout of a frame's bytes.

    `size` is (width, height) px. `stride` is in bytes; 0 means rows without padding. `colors` is
    the meaning of YUV samples.
    """

    format: PixelFormat
    size: tuple[int, int]
    stride: int = 0
    colors: YuvColors = VIDEO_COLORS

    def __post_init__(self) -> None:
        """Raise ConfigError for a size below 1 or a stride shorter than a row."""
        if min(self.size) < 1:
            raise ConfigError(
                f"frames of {self.size[0]}x{self.size[1]} px", expected="both must be at least 1"
            )
        if self.stride and self.stride < self._row:
            raise ConfigError(
                f"a stride of {self.stride} bytes for rows of {self._row}",
                expected="a row must fit into it",
            )

    @property
    def frame_bytes(self) -> int:
        """The number of bytes of a frame."""
        _, height = self.size
        half = (height + 1) // 2
        match self.format:
            case "yuv420p" | "nv12" | "nv21":
                return self._distance * height + 2 * self._half_distance * half
            case _:
                return self._distance * height

    def rgb(self, data: bytes | bytearray | memoryview | Samples) -> Pixels:
        """Convert a frame to RGB, uint8 (H, W, 3); bytes behind the frame are not read.

        Raises ImageError when there are too few bytes.
        """
        samples = np.frombuffer(data, np.uint8)
        if len(samples) < self._fewest:
            raise ImageError(
                f"the frame has {len(samples):,} bytes",
                expected=f"{self.format} of {self.size[0]}x{self.size[1]} px has "
                f"{self.frame_bytes:,}",
            )
        width, height = self.size
        match self.format:
            case "rgb24" | "bgr24" | "rgba" | "bgra" | "rgb0" | "bgr0":
                order = _PACKED[self.format]
                pixels = self._rows(samples, len(order) * width)
                pixels = pixels.reshape(height, width, len(order))
                if order.endswith("a"):
                    return np.asarray(picture_of_array(pixels, order))
                colors = pixels[..., 2::-1] if order.startswith("bgr") else pixels[..., :3]
                return np.ascontiguousarray(colors)
            case "gray":
                return np.repeat(self._rows(samples, width)[..., None], 3, axis=-1)
            case "yuv420p" | "nv12" | "nv21" | "yuyv422" | "uyvy422":
                return rgb_of_yuv(*self._planes(samples), self.colors)
            case _:
                assert_never(self.format)

    def _planes(self, samples: Samples) -> tuple[Samples, Samples, Samples]:
        """The planes of Y, U and V."""
        width, height = self.size
        columns, rows = (width + 1) // 2, (height + 1) // 2
        if self.format in ("yuyv422", "uyvy422"):
            packed = self._rows(samples, 4 * columns)
            first_y, first_u = (0, 1) if self.format == "yuyv422" else (1, 0)
            y = packed[:, first_y::2][:, :width]
            return y, packed[:, first_u::4], packed[:, first_u + 2 :: 4]
        y = self._rows(samples, width)
        behind = samples[self._distance * height :]
        if self.format == "yuv420p":
            plane = self._half_distance * rows
            return (
                y,
                _rows(behind, rows, columns, self._half_distance),
                _rows(behind[plane:], rows, columns, self._half_distance),
            )
        pairs = _rows(behind, rows, 2 * columns, 2 * self._half_distance)
        u, v = pairs[:, 0::2], pairs[:, 1::2]
        return (y, u, v) if self.format == "nv12" else (y, v, u)

    def _rows(self, samples: Samples, length: int) -> Samples:
        return _rows(samples, self.size[1], length, self._distance)

    @property
    def _row(self) -> int:
        """The bytes of a row of the first plane, without padding."""
        width, _ = self.size
        match self.format:
            case "yuyv422" | "uyvy422":
                return 4 * ((width + 1) // 2)
            case "rgb24" | "bgr24":
                return 3 * width
            case "rgba" | "bgra" | "rgb0" | "bgr0":
                return 4 * width
            case "gray" | "yuv420p" | "nv12" | "nv21":
                return width
            case _:
                assert_never(self.format)

    @property
    def _distance(self) -> int:
        return self.stride or self._row

    @property
    def _half_distance(self) -> int:
        """The distance of two rows of a plane of U or V alone."""
        return (self._distance + 1) // 2

    @property
    def _fewest(self) -> int:
        """The bytes up to the last sample: drivers may leave out the padding of the last row."""
        if self.format in ("yuv420p", "nv12", "nv21"):
            padding = self._half_distance - (self.size[0] + 1) // 2
            return self.frame_bytes - padding * (1 if self.format == "yuv420p" else 2)
        return self.frame_bytes - self._distance + self._row


def _rows(samples: Samples, rows: int, length: int, distance: int) -> Samples:
    """View `rows` rows of `length` bytes, `distance` apart."""
    return np.lib.stride_tricks.as_strided(
        samples[: (rows - 1) * distance + length], (rows, length), (distance, 1), writeable=False
    )
