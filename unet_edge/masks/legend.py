"""Text on pictures: Pillow's own font, and a legend in the corner."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from unet_edge.palette import Color

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.lru_cache(maxsize=8)
def default_font(size: int) -> Font:
    """Pillow's own font in `size` px; before Pillow 10.1 it has only one size, 11 px."""
    # Kept, with its drawn letters: a legend of a video is drawn many times.
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


def drawable(text: str, font: Font) -> str:
    """Replace characters that `font` cannot draw: before Pillow 10.1 it has only Latin-1."""
    if isinstance(font, ImageFont.ImageFont):
        return text.encode("latin-1", "replace").decode("latin-1")
    return text


def legend_beside(picture: Image.Image, rows: Sequence[tuple[Color, str]]) -> Image.Image:
    """Add a white strip with rows of swatch and text to the right of an RGB picture.

    The text shrinks until all rows fit. If the smallest text does not fit, the last rows are
    left out.
    """
    smallest = 9  # px: smaller letters of Pillow's font cannot be read
    size = max(
        smallest, min(max(10, min(picture.size) // 28), int(picture.height / len(rows) / 1.5))
    )
    font = default_font(size)
    line = round(size * 1.5)
    rows = [(color, drawable(text, font)) for color, text in rows[: picture.height // line]]
    width = round(max((font.getlength(text) for _, text in rows), default=0) + 3 * size)
    canvas = Image.new("RGB", (picture.width + width, picture.height), "white")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    left = picture.width + size * 0.6
    for index, (color, text) in enumerate(rows):
        top = round(size * 0.25) + index * line
        draw.rectangle((left, top, left + size, top + size), fill=color, outline="black")
        draw.text((left + size * 1.5, top - size * 0.1), text, fill="black", font=font)
    return canvas


def legend_box(size: tuple[int, int], rows: Sequence[tuple[Color, str]]) -> tuple[int, int] | None:
    """The (width, height) px of the legend on a picture of `size`; None if it has no room."""
    letters = _letters(size)
    font = default_font(letters)
    width = max((font.getlength(drawable(text, font)) for _, text in rows), default=0)
    width += 2.6 * letters
    height = round(letters * 1.5) * len(rows)
    if not rows or width > size[0] or height + letters > size[1]:
        return None
    return min(int(width) + 1, size[0]), int(height + letters * 0.6) + 1


def draw_legend(
    picture: Image.Image,
    rows: Sequence[tuple[Color, str]],
    size: tuple[int, int] | None = None,
) -> None:
    """Draw rows of swatch and text into the upper left corner of an RGB picture.

    `size` is that of the whole picture, if `picture` is its corner. A thumbnail has no room for
    a legend and gets none.
    """
    if (box := legend_box(size or picture.size, rows)) is None:
        return
    letters = _letters(size or picture.size)
    font = default_font(letters)
    line = round(letters * 1.5)
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.rectangle((0, 0, box[0] - 1, box[1] - 1), fill=(0, 0, 0, 150))
    for index, (color, text) in enumerate(rows):
        top = round(letters * 0.4) + index * line
        swatch = (letters * 0.5, top, letters * 1.5, top + letters)
        draw.rectangle(swatch, fill=color, outline="white")
        place = (letters * 2, top - letters * 0.1)
        draw.text(place, drawable(text, font), fill="white", font=font)


def _letters(size: tuple[int, int]) -> int:
    """The height of letters in px on a picture of `size`."""
    return max(10, min(size) // 28)
