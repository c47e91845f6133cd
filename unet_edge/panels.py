"""Pictures next to each other under their titles, for people to compare."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from unet_edge.legend import Font, default_font, drawable

_GAP = 8  # px
_TITLE = 22  # px


def panels(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str]) -> Image.Image:
    """Lay out rows of pictures on white, one title above each column, RGB.

    Every column is as wide as its widest picture, every row as high as its highest. A title that
    is wider than its column is cut.
    """
    widths = [max(row[column].width for row in rows) for column in range(len(titles))]
    heights = [max(picture.height for picture in row) for row in rows]
    canvas = Image.new(
        "RGB", (sum(widths) + _GAP * (len(widths) + 1), sum(heights) + _GAP * len(rows) + _TITLE)
    )
    canvas.paste("white", (0, 0, *canvas.size))
    draw = ImageDraw.Draw(canvas)
    font = default_font(13)
    top = _TITLE
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for picture, width in zip(row, widths, strict=True):
            canvas.paste(picture, (left, top))
            left += width + _GAP
        top += height + _GAP
    left = _GAP
    for title, width in zip(titles, widths, strict=True):
        draw.text((left, 4), _fitted(title, width, font), fill="black", font=font)
        left += width + _GAP
    return canvas


def _fitted(title: str, width: int, font: Font) -> str:
    text = drawable(title, font)
    while text and font.getlength(text) > width:
        text = text.removesuffix("...")[:-1] + "..." if len(text) > 4 else ""
    return text
