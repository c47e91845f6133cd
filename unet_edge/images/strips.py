"""A picture in strips of rows, so that conversions need little memory beside the picture."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

STRIP_PIXELS = 2**18
"""Pixels of a strip. The steps of a conversion take up to 30 bytes for each."""


def strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the picture in strips of rows, each with the number of its first row."""
    rows = max(1, STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))
