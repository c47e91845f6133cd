"""The colours of a decoded video frame: which matrix and range its YUV values have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Matrix = Literal["bt601", "bt709", "fcc", "smpte240m", "bt2020"]

# ITU-R BT.601-7 2.5.1, BT.709-6 3.2, BT.2020-2 table 4, FCC 73.682 and SMPTE 240M.
LUMA_SHARES: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}
"""The shares of red and blue in luma."""


@dataclass(frozen=True)
class YuvColors:
    """How YUV values become RGB. A `full_range` of 8 bits is 0..255, else 16..235 and 16..240."""

    matrix: Matrix
    full_range: bool


# AVColorSpace of libavutil/pixfmt.h. 5 and 6 have the same matrix. Constant luminance BT.2020, 10,
# is read as 9, as swscale does.
_MATRICES: dict[int, Matrix] = {
    1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020",
}  # fmt: skip
_FULL = 2  # AVCOL_RANGE_JPEG
_HD = 720  # lines


def colors_of(frame: Any) -> YuvColors:
    """The colours of an av.VideoFrame, as its stream is tagged.

    Untagged frames are BT.709 from 720 lines on, else BT.601, as most players show them. Their
    range is limited, except for yuvj formats and grey.
    """
    lines = min(frame.width, frame.height)  # an upright phone's video is on its side
    matrix = _MATRICES.get(int(frame.colorspace), "bt709" if lines >= _HD else "bt601")
    name = frame.format.name
    full = int(frame.color_range) == _FULL or name.startswith("yuvj")
    if int(frame.color_range) == 0 and name.startswith(("gray", "ya")):
        full = True
    return YuvColors(matrix, full)
