"""Small pictures of photos, masks and differences, for reports and model cards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import Labels
from unet_edge.masks.mask import Mask
from unet_edge.spec import ModelSpec

DIFFERS = (235, 25, 45)
"""The colour of pixels that differ."""

_SIZE = (320, 480)  # width, height, px: five files and six pictures stay under 3 MB


def thumbnail(picture: Image.Image) -> Image.Image:
    """Make a copy of at most 320x480 px."""
    small = picture.copy()
    small.thumbnail(_SIZE)
    return small


def overlay(photo: Image.Image, labels: Labels, spec: ModelSpec) -> Image.Image:
    """Draw a thumbnail of the photo with its mask, uint8 (H, W), laid over it."""
    return thumbnail(Mask.of(labels, spec).overlay(photo, legend="none"))


def difference(photo: Image.Image, wrong: NDArray[np.bool_]) -> Image.Image:
    """Draw a thumbnail of the photo in dim grey, with `wrong` pixels, bool (H, W), in red.

    A pixel of the thumbnail is red if any pixel under it is wrong, so that a single wrong pixel of
    a large photo shows.
    """
    small = thumbnail(photo).convert("L")
    rows = np.arange(small.height) * photo.height // small.height
    columns = np.arange(small.width) * photo.width // small.width
    marks = np.maximum.reduceat(np.maximum.reduceat(wrong, rows, axis=0), columns, axis=1)
    pixels = np.repeat((np.asarray(small) * 0.45 + 60).astype(np.uint8)[..., None], 3, axis=2)
    pixels[marks] = DIFFERS
    return Image.fromarray(pixels)
