"""Frames as YUV 4:2:0 of 8 bits with even sides, which is what H.264 players show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.images.decoding import decode
from unet_edge.streams.av_input import require_av
from unet_edge.streams.frame import Frame
from unet_edge.streams.frame_pixels import EXACT, SWSCALE_MATRICES
from unet_edge.streams.yuv_colors import YuvColors, colors_of

Plane = NDArray[np.uint8]

_LIMITED, _FULL = 1, 2  # AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG
_HD = 720  # lines, from which on untagged video is BT.709


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (width, height) px of a video of frames of `size`: odd sides grow by 1 px."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def planes_of(frame: Any) -> list[Plane]:
    """The planes of an av.VideoFrame of 8 bits, uint8 (H, W) each, as views of its memory."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


def yuv420_copy(frame: Frame) -> tuple[Any, YuvColors]:
    """A frame as a new av.VideoFrame of format yuv420p, and its colours.

    Its sides are even (see `even_size`); a row or column that is added repeats the last one.
    Its tags of colour, its pts and its time base are the frame's.
    """
    av = require_av()
    native = frame.native
    if native is None or not _is_opaque_yuv(native):
        native, colors = _from_rgb(frame)
    else:
        colors = colors_of(native)
        if native.format.name not in ("yuv420p", "yuvj420p"):
            native = _in_yuv420(native, colors)
    copy = av.VideoFrame(*even_size((native.width, native.height)), "yuv420p")
    for target, source in zip(planes_of(copy), planes_of(native), strict=True):
        height, width = source.shape
        target[:height, :width] = source
        target[height:] = target[height - 1]
        target[:, width:] = target[:, width - 1 : width]
    copy.pts, copy.time_base = frame.pts, frame.time_base
    copy.color_range = _FULL if colors.full_range else native.color_range
    copy.colorspace = native.colorspace
    copy.color_primaries, copy.color_trc = native.color_primaries, native.color_trc
    return copy, colors


def _is_opaque_yuv(native: Any) -> bool:
    form = native.format
    return not (
        form.is_rgb
        or form.has_palette
        or any(component.is_alpha for component in form.components)
        or any(plane.line_size < 0 for plane in native.planes)  # rows from the bottom up
    )


def _in_yuv420(native: Any, colors: YuvColors) -> Any:
    """Another YUV format as yuv420p, in the same matrix and range."""
    matrix = SWSCALE_MATRICES[colors.matrix]
    span = _FULL if colors.full_range else _LIMITED
    converted = native.reformat(
        format="yuv420p",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=span,
        dst_color_range=span,
        interpolation=EXACT,
        threads=1,  # frames are converted side by side
    )
    # reformat tags what it was told; untagged frames stay untagged, as players expect.
    converted.colorspace, converted.color_range = native.colorspace, native.color_range
    return converted


def _from_rgb(frame: Frame) -> tuple[Any, YuvColors]:
    av = require_av()
    rgb = av.VideoFrame.from_ndarray(np.asarray(decode(frame.image)), format="rgb24")
    hd = min(rgb.width, rgb.height) >= _HD
    colors = YuvColors("bt709" if hd else "bt601", full_range=False)
    converted = rgb.reformat(
        format="yuv420p",
        dst_colorspace=SWSCALE_MATRICES[colors.matrix],
        dst_color_range=_LIMITED,
        interpolation=EXACT,
        threads=1,
    )
    converted.colorspace = 1 if hd else 6  # AVCOL_SPC_BT709, AVCOL_SPC_SMPTE170M
    converted.color_range = _LIMITED
    return converted, colors
