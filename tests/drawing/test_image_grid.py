import numpy as np
import pytest
from PIL import Image

from unet_edge.drawing.image_grid import _lines, image_grid
from unet_edge.masks.legend import default_font


def test_pictures_stand_side_by_side_under_their_titles():
    sheet = image_grid(
        [[Image.new("RGB", (50, 20), "red"), Image.new("RGB", (60, 40), "blue")]], "ab"
    )
    assert sheet.size == (8 + 50 + 8 + 60 + 8, 22 + 40 + 8)
    assert sheet.getpixel((8, 22)) == (255, 0, 0)
    assert sheet.getpixel((8 + 50 + 8 + 59, 22 + 39)) == (0, 0, 255)


def test_a_title_does_not_reach_into_the_next_column():
    pictures = [Image.new("RGB", (200, 10), "white") for _ in range(2)]
    sheet = np.asarray(image_grid([pictures], ["a very long name of a picture " * 3, ""]))
    assert (sheet[:, :208] < 128).any()
    assert (sheet[:, 209:] == 255).all()


def test_a_long_title_is_broken_into_lines_above_the_pictures():
    pictures = [Image.new("RGB", (200, 10), "red") for _ in range(2)]
    sheet = image_grid([pictures], ["a very long name of a picture " * 3, "short"])
    head = sheet.height - 10 - 8
    assert head > 22 + 17
    last = np.asarray(sheet)[head - 18 : head - 2, :208]
    assert (last < 128).any(), "the last line is drawn"
    assert sheet.getpixel((8, head)) == (255, 0, 0)


def test_a_column_of_small_pictures_is_widened_for_its_title():
    sheet = image_grid(
        [[Image.new("RGB", (20, 10), "red")]], ["2 pixels flipped, 1 of them confident"]
    )
    assert sheet.width == 8 + 160 + 8
    assert image_grid([[Image.new("RGB", (20, 10))]], ["a"]).width == 8 + 20 + 8


@pytest.mark.parametrize("title", ["one two three four five", "a-name-without-spaces" * 9, "", "x"])
@pytest.mark.parametrize("width", [5, 60, 160])
def test_lines_hold_the_full_title(title, width):
    font = default_font(13)
    lines = _lines(title, width, font)
    assert "".join(lines).replace(" ", "") == title.replace(" ", "")
    assert all(font.getlength(line) <= width or len(line) == 1 for line in lines)
