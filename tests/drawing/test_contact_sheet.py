"""Contact sheets: places, outlines and heat colours of small photos."""

from __future__ import annotations

import numpy as np

from unet_edge.drawing.contact_sheet import SheetPhoto, contact_sheet, heat_colors

GREY, PINK = (128, 128, 128), (255, 64, 133)


def photo(title: str, heat: float) -> SheetPhoto:
    """A grey square whose right half is class 1."""
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 1
    pixels = np.full((8, 8, 3), 128, np.uint8)
    return SheetPhoto(title, "0.5", (64, 64), pixels, labels, np.full((8, 8), heat, np.float32))


def test_a_photo_has_its_outline_and_stands_beside_its_heat_map():
    sheet = np.asarray(contact_sheet([photo("a", 1.0)], [(0, 0, 0), PINK]))
    # The sheet's gap, the cell's gap, then 176 px of photo, a gap, and 176 px of heat map. Titles
    # of one line take 22 px, of the sheet and of the cell.
    left, top = 16, 44
    assert sheet.shape == (top + 176 + 16, left + 2 * 176 + 8 + 16, 3)
    row = sheet[top + 50, left : left + 176]
    pink = np.flatnonzero((row == PINK).all(axis=-1))
    assert pink.tolist() == [87, 88]  # both sides of the border in the middle
    assert (np.delete(row, pink, axis=0) == GREY).all()
    heat = sheet[top : top + 176, left + 184 : left + 360]
    assert (heat == (252, 255, 164)).all()


def test_photos_come_five_in_a_row():
    one = contact_sheet([photo("a", 0)], [(0, 0, 0), PINK])
    six = contact_sheet([photo(str(number), 0) for number in range(6)], [(0, 0, 0), PINK])
    cell = one.width - 16
    assert six.width == 5 * cell + 6 * 8
    assert six.height > 2 * (one.height - 30)


def test_heat_gets_brighter_with_the_value():
    colors = heat_colors(np.linspace(0, 1, 11, dtype=np.float32)[None]).astype(int)[0]
    assert colors[0].tolist() == [0, 0, 4]
    luma = colors @ (0.299, 0.587, 0.114)  # ITU-R BT.601
    assert (np.diff(luma) > 0).all()
