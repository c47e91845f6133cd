import pytest

from unet_edge.dataset import list_pictures
from unet_edge.errors import DataError


def test_pictures_of_a_folder_come_in_natural_order(tmp_path):
    for name in ("img10.png", "img2.JPG", "Img1.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_pictures(tmp_path)] == ["Img1.png", "img2.JPG", "img10.png"]


def test_a_picture_stands_for_itself(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert list_pictures(tmp_path / "a.png") == [tmp_path / "a.png"]


def test_superscript_digits_are_letters(tmp_path):
    # str.isdigit is true for them, int() refuses them.
    for name in ("a1²3.png", "a1.png"):
        (tmp_path / name).write_bytes(b"")
    assert len(list_pictures(tmp_path)) == 2


def test_an_empty_folder_and_a_missing_one(tmp_path):
    with pytest.raises(DataError, match=r"no pictures \(\.png"):
        list_pictures(tmp_path)
    with pytest.raises(DataError, match="no such picture or folder"):
        list_pictures(tmp_path / "absent")
