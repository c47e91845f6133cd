"""Pictures with their labels, read from a data set, and the check before training."""

import numpy as np
import pytest
from dataset_folders import BLACK_WHITE, INDEX, SIZE, find, make, names, save_picture
from PIL import Image

from unet_edge.dataset import check_dataset
from unet_edge.errors import DataError


def test_reading_gives_the_picture_and_its_labels(tmp_path):
    make(tmp_path, ["a", "b"], values=BLACK_WHITE)
    dataset = find(tmp_path)
    picture, labels = dataset.read(dataset.train[0])
    assert (picture.mode, picture.size) == ("RGB", SIZE)
    assert np.array_equal(labels, INDEX)


def test_a_rotated_photo_and_its_rotated_mask_still_fit(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    make(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        Image.new("RGB", (3, 4)).save(tmp_path / "images" / f"{name}.png", exif=tags)
    dataset = find(tmp_path)
    picture, labels = dataset.read(dataset.train[0])
    assert (picture.height, picture.width) == labels.shape == (3, 4)


def test_a_mask_of_another_size_is_refused(tmp_path):
    make(tmp_path, ["a", "b"])
    save_picture(tmp_path / "images" / "a.png", (3, 4))
    dataset = find(tmp_path)
    (sample,) = [s for s in (*dataset.train, *dataset.validation) if s.name == "a"]
    with pytest.raises(DataError, match=r"a\.png has 3x4 px but its mask .*a\.png has 4x3"):
        dataset.read(sample)


def test_a_sound_data_set_passes_the_check(tmp_path):
    make(tmp_path, ["a", "b", "c"])
    seen = []

    def watch(samples, label):
        seen.extend([*names(samples), label])
        return samples

    check_dataset(find(tmp_path), watch)
    assert sorted(seen) == ["a", "b", "c", "checking data"]


def test_the_check_lists_at_most_eight_errors(tmp_path):
    make(tmp_path, [f"s{i}" for i in range(12)])
    dataset = find(tmp_path)
    for i in range(10):
        save_picture(tmp_path / "images" / f"s{i}.png", (1, 1))
    (tmp_path / "images" / "s3.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as raised:
        check_dataset(dataset)
    lines = str(raised.value).splitlines()
    assert lines[0] == "10 problems in the data:"
    assert len(lines) == 1 + 8 + 1
    assert lines[-1] == "  … and 2 more; 'unet-edge data check' lists them all"


def test_a_single_fault_is_one_line(tmp_path):
    make(tmp_path, ["a", "b", "c"])
    dataset = find(tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"^\S*b\.png: is empty \(0 bytes\); replace or remove it$"):
        check_dataset(dataset)


def test_a_class_without_a_pixel_asks_whether_the_rule_is_right(tmp_path):
    make(tmp_path, ["a", "b"], values=[[0, 1, 1, 0]] * 3)
    dataset = find(tmp_path, masks="binary>127")
    with pytest.raises(
        DataError, match=r"no mask has a pixel of class 1 \(class1\), read as binary>127; check"
    ):
        check_dataset(dataset)
