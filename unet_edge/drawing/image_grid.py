"""Pictures side by side under their titles."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from unet_edge.masks.legend import Font, default_font, drawable

_GAP = 8  # px
_TITLE = 22  # px; a title of one line with its margins
_LINE = 17  # px; each further line of a title
_READABLE = 160  # px; in a column of this width, lines of a title hold several words


def image_grid(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str]) -> Image.Image:
    """Lay out rows of pictures on white, RGB, with a title above each column.

    A column is as wide as its widest picture, and a row as high as its highest. Long titles are
    broken into lines. A column of small pictures is widened for its title, to at most 160 px.
    """
    font = default_font(13)
    texts = [drawable(" ".join(title.split()), font) for title in titles]
    widths = [
        max(*(row[column].width for row in rows), min(_READABLE, round(font.getlength(text) + 0.5)))
        for column, text in enumerate(texts)
    ]
    heights = [max(picture.height for picture in row) for row in rows]
    blocks = [_lines(text, width, font) for text, width in zip(texts, widths, strict=True)]
    head = _TITLE + _LINE * (max(map(len, blocks)) - 1)
    canvas = Image.new(
        "RGB",
        (sum(widths) + _GAP * (len(widths) + 1), sum(heights) + _GAP * len(rows) + head),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    top = head
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for picture, width in zip(row, widths, strict=True):
            canvas.paste(picture, (left, top))
            left += width + _GAP
        top += height + _GAP
    left = _GAP
    for lines, width in zip(blocks, widths, strict=True):
        for number, line in enumerate(lines):
            draw.text((left, 4 + _LINE * number), line, fill="black", font=font)
        left += width + _GAP
    return canvas


def _lines(text: str, width: int, font: Font) -> list[str]:
    """Break a text into lines of at most `width` px, at spaces and inside too long words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:  # the name of a file may be wider than the column
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
