"""Large JPEG photos are reduced while they are decoded, by what `placement.reduction` says."""

from __future__ import annotations

from PIL import Image

from unet_edge.images.exif_orientation import swaps_sides
from unet_edge.images.placement import reduction
from unet_edge.spec import ModelSpec


def reduce_jpeg(stored: Image.Image, spec: ModelSpec) -> int:
    """Tell the decoder of a JPEG that is not loaded yet by what to divide it; that number."""
    # MPO is JPEG with more pictures behind it. Without quantisation tables it is lossless JPEG,
    # of which libjpeg-turbo reduces nothing.
    if stored.format not in ("JPEG", "MPO") or not getattr(stored, "quantization", None):
        return 1
    width, height = stored.size
    factor = reduction((height, width) if swaps_sides(stored) else (width, height), spec)
    if factor > 1:
        # Pillow takes the largest of 8, 4, 2, 1 that leaves at least this: `factor` itself.
        stored.draft(None, (width // factor, height // factor))
    return factor
