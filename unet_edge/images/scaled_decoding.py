"""Large JPEG photos, reduced while they are decoded."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from unet_edge.images.exif_orientation import swaps_sides

Size = tuple[int, int]
"""(width, height), px."""


def reduction(size: Size, placed: Size) -> int:
    """The factor, 8, 4, 2 or 1, by which the JPEG decoder reduces an upright photo under "scaled".

    `size` is the size of the photo, `placed` its size on the grid. The factor is the largest that
    divides both sides of the photo, so that the reduced photo shows exactly the same, and leaves
    each side at least 1.25 times as long as on the grid.
    """
    for factor in (8, 4, 2):
        if all(
            side % factor == 0 and 4 * side >= 5 * factor * on_grid
            for side, on_grid in zip(size, placed, strict=True)
        ):
            return factor
    return 1


def reduce_jpeg(stored: Image.Image, placed_size: Callable[[Size], Size]) -> int:
    """Let the decoder reduce a JPEG that is not loaded yet.

    `placed_size` takes the size of an upright photo and gives its size on the grid. Returns the
    factor of `reduction`, 1 for a file that is not a JPEG.
    """
    # MPO is JPEG with more pictures behind it. JPEG without quantisation tables is lossless, and
    # libjpeg-turbo does not reduce it.
    if stored.format not in ("JPEG", "MPO") or not getattr(stored, "quantization", None):
        return 1
    width, height = stored.size
    size = (height, width) if swaps_sides(stored) else (width, height)
    factor = reduction(size, placed_size(size))
    if factor > 1:
        # Pillow takes the largest of 8, 4, 2, 1 that leaves at least this size: `factor` itself.
        stored.draft(None, (width // factor, height // factor))
    return factor
