"""A decoder's frame as a Frame, which is converted when a worker asks for its image."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

from PIL import Image

from unet_edge.streams.frame import Frame
from unet_edge.streams.frame_pixels import rgb_picture
from unet_edge.streams.orientation import AS_STORED, Orientation, orientation_of


def frame_of(picture: Any, index: int, pts: int, time_base: Fraction, captured: float) -> Frame:
    """Make a Frame of an av.VideoFrame. Its image is an upright RGB picture."""
    orientation = orientation_of(picture)
    return Frame(
        index,
        pts,
        time_base,
        captured,
        partial(_upright_picture, picture, orientation),
        picture if orientation == AS_STORED else None,
    )


def _upright_picture(picture: Any, orientation: Orientation) -> Image.Image:
    return orientation.upright(rgb_picture(picture))
