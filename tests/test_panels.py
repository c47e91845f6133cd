import numpy as np
from PIL import Image

from unet_edge.panels import panels


def test_pictures_stand_side_by_side_under_their_titles():
    sheet = panels([[Image.new("RGB", (50, 20), "red"), Image.new("RGB", (60, 40), "blue")]], "ab")
    assert sheet.size == (8 + 50 + 8 + 60 + 8, 22 + 40 + 8)
    assert sheet.getpixel((8, 22)) == (255, 0, 0)
    assert sheet.getpixel((8 + 50 + 8 + 59, 22 + 39)) == (0, 0, 255)


def test_a_title_does_not_reach_into_the_next_column():
    pictures = [Image.new("RGB", (80, 10)) for _ in range(2)]
    titles = np.asarray(panels([pictures], ["a very long name of a picture " * 3, ""]))[:22]
    assert (titles[:, :88] < 128).any()
    assert (titles[:, 89:] == 255).all()
