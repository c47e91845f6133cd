"""The confusion matrix as a picture: each row in per cent of its true class."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from unet_edge.masks.legend import Font, default_font, drawable
from unet_edge.masks.metrics import Confusion
from unet_edge.palette import Color

_WIDTH = 1200  # px for all cells of a row
_SMALLEST, _LARGEST = 14, 120  # edge of a cell, px
_ROOM_FOR_SHARE, _ROOM_FOR_COUNT = 30, 54  # px
_MARGIN = 16  # px
_LONGEST_NAME = 24  # characters

# For shares from 0 to 1: the ends and middles of ColorBrewer's Blues and Oranges.
_RIGHT: tuple[Color, ...] = ((247, 251, 255), (107, 174, 214), (8, 48, 107))
_WRONG: tuple[Color, ...] = ((255, 255, 255), (253, 141, 60), (127, 39, 4))
_NOTHING: Color = (200, 200, 200)  # a class that the truth does not have
_GRID: Color = (228, 228, 228)


def confusion_picture(confusion: Confusion, classes: Sequence[str]) -> Image.Image:
    """Draw a heat map in RGB: rows are true classes, columns predicted ones.

    A cell shows its share of the row and, if there is room, its number of pixels. Right predictions
    are blue. Wrong ones are orange, by the square root of their share, so that small shares show.
    """
    cell = min(_LARGEST, max(_SMALLEST, _WIDTH // len(classes)))
    heading, font = default_font(17), default_font(max(9, min(15, cell // 4)))
    names = [drawable(_shortened(name), font) for name in classes]
    longest = round(max(font.getlength(name) for name in names)) + 10
    upright = longest > cell
    side = cell * len(classes)
    left = _MARGIN + longest
    top = _MARGIN + 54 + (longest if upright else _height(font) + 8)
    title = "True class (row), predicted as (column)"
    width = max(left + side, _MARGIN + round(heading.getlength(title))) + _MARGIN
    picture = Image.new("RGB", (width, top + side + _MARGIN))
    picture.paste("white", (0, 0, *picture.size))
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN), title, fill="black", font=heading)
    unit = "% of the row" + (", and pixels" if cell >= _ROOM_FOR_COUNT else "")
    if not confusion.counts.sum(1).all():
        unit += "; grey: not in any true mask"
    draw.text((_MARGIN, _MARGIN + 25), unit, fill=(90, 90, 90), font=default_font(14))
    draw.rectangle((left - 1, top - 1, left + side - 1, top + side - 1), fill=_GRID)

    for index, name in enumerate(names):
        middle = index * cell + cell // 2
        label = _text(name, font)
        picture.paste(label, (left - 6 - label.width, top + middle - label.height // 2))
        if upright:
            label = label.transpose(Image.Transpose.ROTATE_90)
        picture.paste(label, (left + middle - label.width // 2, top - 6 - label.height))
    for row, counts in enumerate(confusion.counts):
        total = int(counts.sum())
        for column, count in enumerate(counts):
            share = int(count) / total if total else None
            tile = _tile(cell - 1, share, int(count), right=row == column)
            picture.paste(tile, (left + column * cell, top + row * cell))
    return picture


def _tile(edge: int, share: float | None, count: int, *, right: bool) -> Image.Image:
    if share is None:
        return Image.new("RGB", (edge, edge), _NOTHING)
    color = _between(_RIGHT, share) if right else _between(_WRONG, share**0.5)
    tile = Image.new("RGB", (edge, edge), color)
    if not count or edge < _ROOM_FOR_SHARE:
        return tile
    # Black or white, whichever is easier to read, by ITU-R BT.601's luma.
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = "white" if luma < 140 else "black"
    lines = [(_percent(share), default_font(max(10, round(edge * 0.2))))]
    if edge >= _ROOM_FOR_COUNT - 1:
        lines.append((_short(count), default_font(max(9, round(edge * 0.12)))))
    draw = ImageDraw.Draw(tile)
    gap = edge // 14
    top = (edge - sum(_height(font) for _, font in lines) - gap * (len(lines) - 1)) // 2
    for text, font in lines:
        draw.text(((edge - font.getlength(text)) / 2, top), text, fill=ink, font=font)
        top += _height(font) + gap
    return tile


def _text(text: str, font: Font) -> Image.Image:
    """A picture of a text in black on white, without a margin."""
    picture = Image.new("RGB", (max(1, round(font.getlength(text))), _height(font)))
    picture.paste("white", (0, 0, *picture.size))
    ImageDraw.Draw(picture).text((0, 0), text, fill="black", font=font)
    return picture


def _height(font: Font) -> int:
    return round(font.getbbox("Agjp")[3])


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _between(ramp: tuple[Color, ...], share: float) -> Color:
    """The colour at `share`, 0..1, of a ramp of three colours."""
    low = 0 if share < 0.5 else 1
    part = 2 * share - low
    red, green, blue = (
        round(a + (b - a) * part) for a, b in zip(ramp[low], ramp[low + 1], strict=True)
    )
    return red, green, blue


def _percent(share: float) -> str:
    """A share in per cent: "100" only for 1, at most "99.99" below it, "<0.01" below 0.01."""
    if share == 1:
        return "100"
    value = 100 * share
    if value < 0.01:
        return "<0.01"
    return f"{min(value, 99.99):.2f}" if value < 1 or value > 99 else f"{value:.1f}"


def _short(count: int) -> str:
    """A count with at most three digits: 950, 12.3k, 4.56M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            value = count / size
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}{unit}"
    return str(count)
