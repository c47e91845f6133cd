"""Masks in: a mask's file as class indices, or as colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images.bit_depth import extremes
from unet_edge.images.decoding import strips
from unet_edge.images.exif_orientation import upright
from unet_edge.images.picture_file import opened
from unet_edge.images.placement import Pixels


def read_labels(source: Path | bytes) -> Image.Image:
    """Read a mask file, or its bytes, as single-channel values, undecoded by any palette.

    Palette pictures give their indices, 1-bit pictures give 0 and 255; RGB(A) and CMYK masks
    whose channels are equal give that grey. EXIF orientation is honoured, as for the picture.

    Raises ImageError as `decode` does, and when the mask is coloured.
    """
    with opened(source) as stored:
        picture = _upright_alone(stored)
        result = Image.new("L", picture.size)
        for top, strip in strips(picture):
            labels = _labels_of(strip)
            if labels is None:
                raise ImageError(_not_labels(picture), subject=_mask_name(source))
            result.paste(labels, (0, top))
        return result


def _mask_name(source: Path | bytes) -> str:
    return "mask" if isinstance(source, bytes) else f"mask {source}"


def _upright_alone(stored: Image.Image) -> Image.Image:
    """`upright`, which does not keep the picture that it turned."""
    picture = upright(stored)
    if picture is not stored:
        stored.close()
    return picture


def _labels_of(strip: Image.Image) -> Image.Image | None:
    """A few rows of a mask as its values; None where they are no labels."""
    if strip.mode in ("L", "P"):
        # A palette picture's bytes are the class indices; its colours are for the eye.
        return Image.frombytes("L", strip.size, strip.tobytes())
    if strip.mode == "1":
        return strip.convert("L")
    if strip.mode == "LA":
        return strip.getchannel("L")
    if strip.mode in _NUMBERS:
        values = np.asarray(strip)
        if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
            return None
        return Image.fromarray(values.astype(np.uint8))
    channels = np.asarray(strip.convert("RGB"))
    if (channels != channels[..., :1]).any():
        return None
    return Image.fromarray(np.ascontiguousarray(channels[..., 0]))


_NUMBERS = ("I;16", "I;16L", "I;16B", "I", "F")


def _not_labels(picture: Image.Image) -> str:
    """What a picture holds whose values are no labels."""
    if picture.mode in _NUMBERS:
        low, high = extremes(picture)
        return f"holds values from {low} to {high}; class indices are whole numbers of 0..255"
    return (
        f"is a colour picture ({picture.mode}); "
        "expected class indices or black and white in one channel"
    )


def read_colors(source: Path | bytes) -> Pixels:
    """Read a colour-coded mask file, or its bytes, as RGB: uint8 (H, W, 3), transparency dropped.

    EXIF orientation is honoured, as for the picture. Raises ImageError as `decode` does.
    """
    with opened(source) as stored:
        picture = _upright_alone(stored)
        if picture.mode.startswith("I") or picture.mode == "F":
            raise ImageError(
                f"holds numbers ({picture.mode}), not colours", subject=_mask_name(source)
            )
        colors = np.empty((picture.height, picture.width, 3), np.uint8)
        for top, strip in strips(picture):
            colors[top : top + strip.height] = np.asarray(strip.convert("RGB"))
        return colors
