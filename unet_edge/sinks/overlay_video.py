"""The video with its masks over it: H.264 in an MP4 file, with the frames' own times."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

from unet_edge.sinks.overlay import Legend, overlay_frame
from unet_edge.sinks.video_file import VideoFileSink


class OverlayVideo(VideoFileSink):
    """Writes an overlay video without audio. A sink.

    Odd sides grow by 1 px, because H.264 in 4:2:0 has none.
    """

    def __init__(self, path: Path, *, legend: Legend = "on", rate: Fraction | None = None) -> None:
        """`rate` is in frames a second, a hint for players."""
        super().__init__(path, "libx264", "mp4", partial(overlay_frame, legend=legend), rate)
