"""A folder that is missing or has no known layout: the error says what to rename or add."""

import json
from pathlib import Path

import pytest
from dataset_folders import find, make, save_picture

from unet_edge.dataset.check import check
from unet_edge.errors import DataError


def fix(root):
    (finding,) = check(root, classes=("background", "cat")).findings
    assert (finding.severity, finding.kind) == ("error", "layout")
    return finding.fix


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["images"], "add {root}/masks/ with a mask for each picture, of the same name"),
        (["Images"], "add {root}/Labels/ with a mask for each picture, of the same name"),
        (["images", "labels"], "rename {root}/labels to masks"),
        (["Images", "Masks"], "rename {root}/Masks to Labels"),
        (["JPEGImages", "masks"], "rename {root}/masks to SegmentationClass"),
        (["IMAGES", "masks"], "rename {root}/IMAGES to images"),
        (["imgs", "label"], "rename {root}/imgs to images and {root}/label to masks"),
        (
            ["imgs"],
            "rename {root}/imgs to images, and add {root}/masks/ with a mask for each picture, of "
            "the same name",
        ),
        (["annotations", "imgs", "masks"], "rename {root}/imgs to images"),
        (["image", "images", "label"], "rename {root}/label to masks"),
        (["images", "annotations", "label", "labels"], "rename {root}/labels to masks"),
        (["train/images", "train/labels"], "rename {root}/train/labels to masks"),
        ([], "put the pictures into {root}/images/ and the masks into {root}/masks/"),
        (["other"], "put the pictures into {root}/images/ and the masks into {root}/masks/"),
    ],
    ids=str,
)
def test_folders_that_are_no_pair(tmp_path, folders, expected):
    root = tmp_path / "cats"
    root.mkdir()
    for folder in folders:
        save_picture(root / folder / "a.png")
    assert fix(root) == expected.format(root=root)


@pytest.mark.parametrize("name", ["images", "masks"])
def test_a_folder_inside_the_data_folder(tmp_path, monkeypatch, name):
    root = make(tmp_path / "cats", ["a", "b"])
    assert fix(root / name) == f"pass {root}, the folder that holds {name}/"
    monkeypatch.chdir(root / name)
    assert fix(".") == f"pass {root}, the folder that holds {name}/"


def test_a_coco_file_of_another_name(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    (tmp_path / "other.json").write_text("[]")
    (tmp_path / "cats.json").write_text(
        json.dumps({"images": [], "annotations": [], "categories": []})
    )
    assert fix(tmp_path) == f"rename {tmp_path / 'cats.json'} to annotations.json"


def test_a_missing_folder_suggests_a_similar_one(tmp_path):
    make(tmp_path / "cats", ["a", "b"])
    assert fix(tmp_path / "catz") == f"did you mean {tmp_path / 'cats'}?"
    assert fix(tmp_path / "elephants") == "check the path"
    assert fix(tmp_path / "none" / "cats") == "check the path"
    with pytest.raises(DataError, match=r"no such data folder: .*catz; did you mean .*cats\?$"):
        find(tmp_path / "catz")


def test_the_folder_around_a_missing_one_may_be_unreadable(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert fix(tmp_path / "catz") == "check the path"


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "cats").touch()
    assert fix(tmp_path / "cats") == "name the folder that holds the pictures and masks"


def test_a_fix_never_names_a_page_that_an_installation_lacks(tmp_path):
    make(tmp_path / "cats", ["a", "b"])
    (tmp_path / "cats" / "train.txt").write_bytes(b"a\0b")
    assert fix(tmp_path / "cats") == "save it as UTF-8"
