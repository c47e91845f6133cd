import threading
from pathlib import Path

import numpy as np
import pytest
from patterns import pattern
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images.animation import _thread
from unet_edge.images.decoding import decode
from unet_edge.images.picture_file import count_frames, file_and_page, page_path, pages_of


@pytest.fixture
def animation(tmp_path: Path) -> Path:
    path = tmp_path / "clip.webp"
    pictures = [Image.fromarray(np.roll(pattern(40, 24), 5 * k, axis=1)) for k in range(5)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True)
    return path


def test_frames_in_any_order(animation: Path) -> None:
    base = pattern(40, 24)
    for number in (1, 3, 4, 2, 5, 5, 1):
        expected = np.roll(base, 5 * (number - 1), axis=1)
        assert np.array_equal(decode(page_path(animation, number)), expected)


def test_a_file_is_held_until_its_last_frame(animation: Path) -> None:
    def read() -> None:
        for page in pages_of(animation)[:-1]:
            decode(page)
        held.append(_thread.held[1])
        decode(page_path(animation, 5))
        held.append(_thread.held[1])

    held: list[object] = []
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert held[0] is not None
    assert held[1] is None


def test_a_changed_file_is_read_again(animation: Path) -> None:
    decode(page_path(animation, 2))
    red, green, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue"))
    red.save(animation, save_all=True, append_images=[green, blue], lossless=True)
    assert decode(page_path(animation, 3)).getpixel((7, 7)) == (0, 0, 255)


def test_paths_of_pages(animation: Path, tmp_path: Path) -> None:
    assert file_and_page(animation / "0012") == (animation, 12)
    assert file_and_page(animation) == (animation, 0)
    folder = tmp_path / "folder.tif"
    folder.mkdir()
    (folder / "0001").write_bytes(b"")
    assert file_and_page(folder / "0001") == (folder / "0001", 0)
    assert count_frames(animation / "0001") == 1
    with pytest.raises(ImageError, match=r"clip\.webp/0006"):
        decode(page_path(animation, 6))
