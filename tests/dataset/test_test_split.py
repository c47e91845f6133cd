"""Test pictures: never trained on, whatever names them."""

import json

import pytest
from dataset_folders import find, make, names

from unet_edge.dataset.check import check
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import DataError


def splits(dataset):
    return tuple(names(part) for part in (dataset.train, dataset.validation, dataset.test))


def listed(root, **lists):
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines.split()))


def test_a_validation_list_alone_leaves_the_test_folder_alone(tmp_path):
    make(tmp_path, ["train/a", "train/b", "val/c", "test/d", "test/e"])
    listed(tmp_path, mine="val/c")
    dataset = find(tmp_path, validation_list=tmp_path / "mine.txt")
    assert splits(dataset) == (["train/a", "train/b"], ["val/c"], ["test/d", "test/e"])
    assert dataset.notes[1].endswith("; 2 test pictures")


def test_folders_that_the_lists_do_not_name_are_left_out_with_a_word(tmp_path):
    make(tmp_path, ["train/a", "val/b", "val/c", "test/d"])
    listed(tmp_path, mine="val/c")
    dataset = find(tmp_path, validation_list=tmp_path / "mine.txt")
    assert splits(dataset) == (["train/a"], ["val/c"], ["test/d"])
    assert "1 picture in no split, left out" in dataset.notes[1]


def test_folders_alone(tmp_path):
    make(tmp_path, ["train/a", "val/b", "test/c"])
    assert splits(find(tmp_path)) == (["train/a"], ["val/b"], ["test/c"])


@pytest.mark.parametrize("by", ["list", "folder"])
def test_a_test_split_alone_is_neither_trained_nor_validated_on(tmp_path, by):
    rest = [f"train/{k}" for k in range(10)] if by == "folder" else [f"r{k}" for k in range(10)]
    held = ["test/x", "test/y"] if by == "folder" else ["x", "y"]
    make(tmp_path, [*rest, *held])
    if by == "list":
        listed(tmp_path, test="x y")
    dataset = find(tmp_path)
    assert names(dataset.test) == held
    assert (len(dataset.train), len(dataset.validation)) == (8, 2)


def test_pictures_in_two_lists_are_held_out(tmp_path):
    make(tmp_path, list("abcdef"))
    listed(tmp_path, train="a b c d", val="c e", test="d f")
    dataset = find(tmp_path)
    assert splits(dataset) == (["a", "b"], ["c", "e"], ["d", "f"])
    kinds = [f.kind for f in check(tmp_path, classes=("a", "b")).findings]
    assert kinds.count("listed-in-both") == 2


def test_a_list_given_for_validation_may_be_the_folders_test_list(tmp_path):
    make(tmp_path, list("abcd"))
    listed(tmp_path, train="a b", test="c d")
    dataset = find(tmp_path, validation_list=tmp_path / "test.txt")
    assert splits(dataset) == (["a", "b"], ["c", "d"], [])


def test_a_test_list_given_by_hand_wins_over_validation(tmp_path):
    make(tmp_path, list("abcd"))
    listed(tmp_path, val="b c", mine="c d")
    dataset = find(tmp_path, test_list=tmp_path / "mine.txt")
    assert splits(dataset) == (["a"], ["b"], ["c", "d"])


def test_a_training_list_does_not_bring_test_pictures_back(tmp_path):
    make(tmp_path, ["train/a", "val/b", "test/c"])
    listed(tmp_path, mine="train/a test/c")
    dataset = find(tmp_path, train_list=tmp_path / "mine.txt")
    assert splits(dataset) == (["train/a"], ["val/b"], ["test/c"])


# --- paths in lists -----------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["images/test/d.png", "test/d.png", "test/d", "{root}/d.png"])
def test_a_path_may_be_below_the_pictures_below_the_data_or_absolute(tmp_path, line):
    make(tmp_path, ["train/a", "test/d", "val/d"])
    (tmp_path / "mine.txt").write_text(line.format(root=tmp_path / "images" / "test"))
    assert names(find(tmp_path, validation_list=tmp_path / "mine.txt").validation) == ["test/d"]


def test_a_missing_path_is_reported_with_the_folder_it_is_relative_to(tmp_path):
    make(tmp_path, ["train/a", "val/b"])
    (tmp_path / "mine.txt").write_text("/SegNet/train/a.png /SegNet/trainannot/a.png")
    with pytest.raises(DataError) as raised:
        find(tmp_path, train_list=tmp_path / "mine.txt")
    message = str(raised.value)
    assert f"line 1: no picture is called /SegNet/train/a.png in {tmp_path}" in message
    assert f"below the folder of pictures, or below {tmp_path}: train/a.png" in message


# --- the split of a run -------------------------------------------------------------------------


def test_a_kept_split_does_not_change_when_a_picture_is_added(tmp_path):
    make(tmp_path / "set", [f"s{k}" for k in range(10)])
    first = find(tmp_path / "set")
    path = tmp_path / "split.json"
    path.write_text(SplitNames.of(first).to_json())
    make(tmp_path / "set", ["s00"])
    again = find(tmp_path / "set", split=SplitNames.read(path))
    assert splits(again) == splits(first)
    assert "1 picture in no split, left out" in again.notes[1]


def test_a_picture_of_a_kept_split_that_is_gone(tmp_path):
    make(tmp_path, list("abc"))
    split = SplitNames(("a", "gone"), ("b",), ())
    with pytest.raises(DataError, match="gone: the run began with gone, which is missing"):
        find(tmp_path, split=split)
    # What is finished can be exported and evaluated without it.
    finished = SplitNames(("a", "gone"), ("b",), (), gone="warning")
    dataset = find(tmp_path, split=finished)
    assert splits(dataset) == (["a"], ["b"], [])
    assert any("gone, which is missing" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "content", ["", "[]", "7", "{", '{"train": [], "validation": []}', json.dumps({"train": 7})]
)
def test_a_damaged_split(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"split\.json is not the split of a run"):
        SplitNames.read(path)
