"""Reading mask files, as class indices or as colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images.bit_depth import extremes
from unet_edge.images.exif_orientation import upright
from unet_edge.images.picture_file import opened
from unet_edge.images.placement import Pixels
from unet_edge.images.strips import strips


def read_labels(source: Path | bytes) -> Image.Image:
    """Read a mask file, or its bytes, as one channel of values (mode "L").

    Palette pictures give their indices, 1-bit pictures 0 and 255. RGB(A) and CMYK masks whose
    channels are equal give that grey. The EXIF orientation turns the mask, as it does a picture.

    Raises ImageError as `decode` does, for a colour picture, and for values that are not labels.
    """
    with opened(source) as stored:
        picture = _upright_alone(stored)
        result = Image.new("L", picture.size)
        for top, strip in strips(picture):
            labels = _labels_of(strip)
            if labels is None:
                found, expected = _not_labels(picture)
                raise ImageError(found, expected=expected, subject=_mask_name(source))
            result.paste(labels, (0, top))
        return result


def _mask_name(source: Path | bytes) -> str:
    return "mask" if isinstance(source, bytes) else f"mask {source}"


def _upright_alone(stored: Image.Image) -> Image.Image:
    """Turn a picture upright, and close the original to free its memory."""
    picture = upright(stored)
    if picture is not stored:
        stored.close()
    return picture


def _labels_of(strip: Image.Image) -> Image.Image | None:
    """The values of some rows of a mask; None when they are not labels."""
    if strip.mode in ("L", "P"):
        # The bytes of a palette picture are the class indices; its colours are for people.
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


def _not_labels(picture: Image.Image) -> tuple[str, str]:
    """What a picture holds, and what its values must be."""
    if picture.mode in _NUMBERS:
        low, high = extremes(picture)
        found = f"holds values from {low} to {high}"
        return found, "class indices must be whole numbers of 0..255"
    found = f"is a colour picture ({picture.mode})"
    return found, "it must hold class indices, or black and white, in one channel"


def read_colors(source: Path | bytes) -> Pixels:
    """Read a colour-coded mask file, or its bytes, as RGB: uint8 (H, W, 3), without transparency.

    The EXIF orientation turns the mask, as it does a picture. Raises ImageError as `decode` does,
    and for a mask of numbers instead of colours.
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
