"""Arrays of pixels, as cameras and OpenCV give them, as RGB pictures."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.rgb import over_white

ChannelOrder = Literal["rgb", "bgr", "rgba", "bgra", "rgbx", "bgrx"]
"""The order of an array's channels; OpenCV's is "bgr". `a` is alpha, laid over white. `x` is a
channel without meaning, which many cameras and screens have."""


def require_channel_order(order: str) -> None:
    """Raise ConfigError unless `order` is a ChannelOrder."""
    if order not in get_args(ChannelOrder):
        raise ConfigError(
            f"color_order is {order!r}",
            expected=f"it must be one of {', '.join(get_args(ChannelOrder))}",
        )


def picture_of_array(pixels: NDArray[np.uint8], order: ChannelOrder) -> Image.Image:
    """Make an RGB picture of uint8 pixels (H, W, 3) or (H, W, 4), as `order` names the channels.

    Raises ImageError for any other array.
    """
    channels = len(order)
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != channels
        or not pixels.size
    ):
        raise ImageError(
            f"the array is {pixels.dtype} {pixels.shape}",
            expected=f"{order.upper()} pixels must be uint8 (H, W, {channels})",
            fix=_fix(pixels, order),
        )
    colors = pixels[..., 2::-1] if order.startswith("bgr") else pixels[..., :3]
    if not order.endswith("a"):
        return Image.fromarray(np.ascontiguousarray(colors))
    return over_white(Image.fromarray(np.dstack((colors, pixels[..., 3]))))


def _fix(pixels: NDArray[np.generic], order: ChannelOrder) -> str:
    if pixels.dtype != np.uint8:
        return "convert its range to 0..255 and its type to uint8"
    match pixels.shape:
        case (_, _, 4):
            return "name the order of four channels: color_order='bgra', 'rgba', 'bgrx' or 'rgbx'"
        case (_, _, 3):
            return f"name the order of three channels: color_order='{order[:3]}'"
        case (_, _) | (_, _, 1):
            return "make grey a picture: Image.fromarray(array.squeeze())"
        case _:
            return ""
