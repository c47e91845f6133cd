"""Pictures in one folder and masks in another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_edge.dataset.two_folders import find_in_two_folders
from unet_edge.errors import ConfigError, DataError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Pictures a, b, c and masks a, b, z; class 1 is 255 in the masks."""
    pictures, masks = tmp_path / "photos", tmp_path / "masks"
    pictures.mkdir()
    masks.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 6), (9, 9, 9)).save(pictures / f"{name}.jpg")
    for name in "abz":
        values = np.zeros((6, 8), np.uint8)
        values[:3] = 255
        Image.fromarray(values).save(masks / f"{name}.png")
    return pictures, masks


def test_pictures_and_masks_of_equal_names(folders: tuple[Path, Path]) -> None:
    dataset = find_in_two_folders(*folders, classes=("background", "disc"))
    assert [sample.name for sample in dataset.validation] == ["a", "b"]
    assert (dataset.train, dataset.test) == ((), ())
    _, labels = dataset.read(dataset.validation[0])
    assert labels.tolist() == [[1] * 8] * 3 + [[0] * 8] * 3
    assert "left out, without a mask: 1 file (c)" in dataset.notes
    assert "left out, without a picture: 1 file (z)" in dataset.notes


def test_a_rule_and_a_pattern_of_names(folders: tuple[Path, Path]) -> None:
    pictures, masks = folders
    (masks / "c_mask.png").write_bytes((masks / "a.png").read_bytes())
    dataset = find_in_two_folders(
        pictures,
        masks,
        classes=("background", "disc"),
        rule="binary<=127",
        mask_names="NAME_mask",
    )
    assert [sample.name for sample in dataset.validation] == ["a", "b", "c"]
    _, labels = dataset.read(dataset.validation[2])
    assert labels[0, 0] == 0
    assert labels[5, 0] == 1


def test_folders_that_do_not_fit_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pictures, masks = folders
    for path in masks.iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DataError, match="no mask has its picture's name"):
        find_in_two_folders(pictures, masks, classes=("a", "b"))
    with pytest.raises(ConfigError, match="is not a folder"):
        find_in_two_folders(pictures, tmp_path / "none", classes=("a", "b"))
