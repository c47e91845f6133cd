"""Text on pictures: Pillow's own font, and a legend in the corner."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from unet_edge.palette import Color

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def default_font(size: int) -> Font:
    """Pillow's own font in `size` px; before Pillow 10.1 it has only one size, 11 px."""
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


def draw_legend(picture: Image.Image, rows: Sequence[tuple[Color, str]]) -> None:
    """Draw rows of swatch and text into the upper left corner of an RGB picture."""
    if not rows:
        return
    size = max(10, min(picture.size) // 28)
    font = default_font(size)
    rows = [(color, drawable(text, font)) for color, text in rows]
    line = round(size * 1.5)
    width = max(font.getlength(text) for _, text in rows) + 2.6 * size
    if width > picture.width or line * len(rows) + size > picture.height:
        return  # no room: a thumbnail is shown without its legend
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.rectangle((0, 0, width, line * len(rows) + size * 0.6), fill=(0, 0, 0, 150))
    for index, (color, text) in enumerate(rows):
        top = round(size * 0.4) + index * line
        draw.rectangle((size * 0.5, top, size * 1.5, top + size), fill=color, outline="white")
        draw.text((size * 2, top - size * 0.1), text, fill="white", font=font)
