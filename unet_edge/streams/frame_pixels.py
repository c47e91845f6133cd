"""RGB pictures of decoded video frames, the same on every processor."""

from __future__ import annotations

import threading
from typing import Any

from PIL import Image

from unet_edge.errors import ImageError
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
EXACT = 0x2 | 0x40000 | 0x80000

# With SWS_FULL_CHR_H_INT: chroma is interpolated in both directions, from where the stream says
# that its samples are. The output is planes, which FFmpeg 5.1 and 8.1 make alike; their packed RGB
# differs by up to 90. At 1280x720, planes and merging them take 3.1 ms on an AMD EPYC (AVX2), exact
# packed RGB 4.5 ms and 1.0 ms to become a picture, inexact 0.4 ms and 1.0 ms.
_TO_RGB = EXACT | 0x2000

_local = threading.local()


def rgb_picture(frame: Any) -> Image.Image:
    """The picture of an av.VideoFrame as it is stored; transparency is laid over white.

    Raises ImageError for a pixel format that cannot be converted.
    """
    from av.error import FFmpegError

    has_alpha = any(component.is_alpha for component in frame.format.components)
    colors = colors_of(frame)
    try:
        converted = _converter().reformat(
            frame,
            format="gbrap" if has_alpha else "gbrp",
            interpolation=_TO_RGB,
            src_colorspace=SWSCALE_MATRICES[colors.matrix],
            src_color_range=2 if colors.full_range else 1,  # AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG
            threads=1,  # several frames are converted side by side
        )
    except FFmpegError:
        raise ImageError(
            f"the frame's pixel format {frame.format.name} cannot be converted"
        ) from None
    green, blue, red, *alpha = (_plane(plane) for plane in converted.planes)
    if not has_alpha:
        return Image.merge("RGB", (red, green, blue))
    return over_white(Image.merge("RGBA", (red, green, blue, *alpha)))


def _plane(plane: Any) -> Image.Image:
    size = plane.width, plane.height
    return Image.frombuffer("L", size, plane, "raw", "L", plane.line_size, 1)


def _converter() -> Any:
    """This thread's converter, which keeps its tables while frames stay of one kind."""
    converter = getattr(_local, "converter", None)
    if converter is None:
        from av.video.reformatter import VideoReformatter

        _local.converter = converter = VideoReformatter()
    return converter
