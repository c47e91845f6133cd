"""RGB pixels of decoded video frames, the same on every processor."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from unet_edge.images.placement import Pixels
from unet_edge.images.rgb import over_white
from unet_edge.streams.yuv_colors import Matrix, colors_of

# SWS_CS_* of libswscale/swscale.h
SWSCALE_MATRICES: dict[Matrix, int] = {
    "bt709": 1,
    "fcc": 4,
    "bt601": 5,
    "smpte240m": 7,
    "bt2020": 9,
}
# SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT. Without the last two, swscale takes other paths,
# whose rounding differs between the instructions of x86 and ARM.
EXACT = 2 | 0x40000 | 0x80000

_local = threading.local()


def rgb_pixels(frame: Any) -> Pixels:
    """The pixels of an av.VideoFrame as stored, uint8 (H, W, 3); alpha is laid over white."""
    has_alpha = any(component.is_alpha for component in frame.format.components)
    colors = colors_of(frame)
    converted = _converter().reformat(
        frame,
        format="rgba" if has_alpha else "rgb24",
        interpolation=EXACT,
        src_colorspace=SWSCALE_MATRICES[colors.matrix],
        src_color_range=2 if colors.full_range else 1,
        threads=1,  # frames are converted side by side
    )
    pixels: Pixels = converted.to_ndarray()
    if not has_alpha:
        return pixels
    from PIL import Image

    return np.asarray(over_white(Image.fromarray(pixels)))


def _converter() -> Any:
    """This thread's converter, which keeps its tables for frames of one kind."""
    try:
        return _local.converter
    except AttributeError:
        from av.video.reformatter import VideoReformatter

        _local.converter = VideoReformatter()
        return _local.converter
