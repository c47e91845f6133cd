"""The outputs of segmented videos: their names, and what is drawn of each frame for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.mask_pictures import mask_png, picture_name
from unet_edge.sinks.mask_video import index_frame
from unet_edge.sinks.overlay import Legend, overlay_frame
from unet_edge.system.files import write_atomically

VideoKind = Literal["overlay", "index", "palette", "csv", "jsonl"]
"""overlay: an MP4 file; index: a lossless Matroska file of class indices; palette: a folder with a
PNG file for each frame; csv and jsonl: the class shares of each frame."""

VIDEO_KINDS: tuple[VideoKind, ...] = get_args(VideoKind)


def video_file_name(kind: VideoKind, name: str) -> str:
    """The file of a kind for the video called `name`, by which it is known to be complete."""
    match kind:
        case "overlay":
            return f"{name}.overlay.mp4"
        case "index":
            return f"{name}.index.mkv"
        case "palette":
            return f"{palette_folder(name)}/times.csv"
        case "csv" | "jsonl":
            return f"{name}.shares.{kind}"
        case _:
            assert_never(kind)


def palette_folder(name: str) -> str:
    """The folder of a video's masks as pictures."""
    return f"{name}.palette"


@dataclass(frozen=True)
class DrawnFrame:
    """What the outputs need of a frame.

    `position` is its (index, pts), `shares` the share of each class. `overlay` and `index` are
    av.VideoFrames; None if they are not asked for.
    """

    position: tuple[int, int]
    size: tuple[int, int]
    shares: tuple[float, ...]
    overlay: Any = None
    index: Any = None


def drawn(
    result: SegmentedFrame, kinds: Sequence[VideoKind], legend: Legend, pictures: Path
) -> DrawnFrame:
    """Draw a frame; its mask as a picture goes into the folder `pictures`.

    Several threads may draw at once.
    """
    if "palette" in kinds:
        write_atomically(pictures / picture_name(result.frame.index), mask_png(result))
    return DrawnFrame(
        (result.frame.index, result.frame.pts),
        result.grid.size,
        result.grid.shares(),
        overlay_frame(result, legend) if "overlay" in kinds else None,
        index_frame(result) if "index" in kinds else None,
    )
