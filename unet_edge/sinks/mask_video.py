"""Masks as a lossless video: FFV1 in a Matroska file; each grey value is a class index."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.video_file import VideoFileSink
from unet_edge.streams.av_input import require_av

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG: players do not stretch the values


def index_frame(result: SegmentedFrame) -> Any:
    """The mask as an av.VideoFrame of format gray, whose values are class indices."""
    av = require_av()
    frame = av.VideoFrame.from_ndarray(result.mask.labels, format="gray")
    frame.pts, frame.time_base = result.frame.pts, result.frame.time_base
    frame.color_range = _FULL_RANGE
    return frame


class MaskVideo(VideoFileSink):
    """Writes masks of the frames' own size. A sink. Matroska rounds times to milliseconds."""

    def __init__(self, path: Path, *, rate: Fraction | None = None) -> None:
        """`rate` is in frames a second, a hint for players."""
        super().__init__(path, "ffv1", "matroska", index_frame, rate)
