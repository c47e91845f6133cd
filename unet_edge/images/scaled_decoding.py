"""Large JPEG photos, reduced while they are decoded."""

from __future__ import annotations

from PIL import Image

from unet_edge.images.exif_orientation import swaps_sides
from unet_edge.images.placement import reduction
from unet_edge.spec import ModelSpec


def reduce_jpeg(stored: Image.Image, spec: ModelSpec) -> int:
    """Let the decoder reduce a JPEG that is not loaded yet; returns the factor, 1 for no JPEG.

    The factor is that of `placement.reduction`.
    """
    # MPO is JPEG with more pictures behind it. JPEG without quantisation tables is lossless, and
    # libjpeg-turbo does not reduce it.
    if stored.format not in ("JPEG", "MPO") or not getattr(stored, "quantization", None):
        return 1
    width, height = stored.size
    factor = reduction((height, width) if swaps_sides(stored) else (width, height), spec)
    if factor > 1:
        # Pillow takes the largest of 8, 4, 2, 1 that leaves at least this size: `factor` itself.
        stored.draft(None, (width // factor, height // factor))
    return factor
