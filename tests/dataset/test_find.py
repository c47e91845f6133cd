"""Which pictures and masks a data set consists of, and how they are split."""

import pytest
from dataset_folders import find, make, names, save_mask, save_picture

from unet_edge.dataset import Sample
from unet_edge.errors import DataError


@pytest.mark.parametrize(
    ("pictures", "masks", "suffix"),
    [
        ("Images", "Labels", ".png"),
        ("images", "masks", ".jpg"),
        ("JPEGImages", "SegmentationClass", ".jpg"),
    ],
    ids=["tutorial", "paired", "VOC"],
)
def test_each_layout_is_found_by_its_folders(tmp_path, pictures, masks, suffix):
    make(tmp_path, ["a", "b"], pictures=pictures, masks=masks, suffix=suffix)
    dataset = find(tmp_path)
    found = sorted([*dataset.train, *dataset.validation], key=lambda s: s.name)
    assert found == [
        Sample(n, tmp_path / pictures / f"{n}{suffix}", tmp_path / masks / f"{n}.png")
        for n in ("a", "b")
    ]
    assert f"{pictures}/ with {masks}/" in dataset.notes[0]


@pytest.mark.parametrize("folder", ["ImageSets/Segmentation", "."], ids=["VOC", "plain"])
def test_lists_name_the_split(tmp_path, folder):
    make(tmp_path, ["a", "b", "c", "d"])
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "train.txt").write_text("c\na\n")
    (tmp_path / folder / "val.txt").write_text("d\n")
    dataset = find(tmp_path)
    assert names(dataset.train) == ["c", "a"]  # in the list's order
    assert names(dataset.validation) == ["d"]
    assert "2 train, 1 validation (validation from val.txt)" in dataset.notes[1]


@pytest.mark.parametrize("listed", ["val", "validation", "valid"])
def test_a_validation_list_alone_leaves_the_rest_to_training(tmp_path, listed):
    make(tmp_path, ["a", "b", "c"])
    (tmp_path / f"{listed}.txt").write_text("b\n")
    dataset = find(tmp_path)
    assert (names(dataset.train), names(dataset.validation)) == (["a", "c"], ["b"])


def test_a_picture_in_both_lists_is_for_validation_only(tmp_path):
    make(tmp_path, ["a", "b", "c"])
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "val.txt").write_text("c\n")
    dataset = find(tmp_path)
    assert (names(dataset.train), names(dataset.validation)) == (["a", "b"], ["c"])


def test_val_is_preferred_to_test(tmp_path):
    make(tmp_path, ["a", "b", "c"])
    (tmp_path / "test.txt").write_text("a\n")
    (tmp_path / "val.txt").write_text("b\n")
    assert names(find(tmp_path).validation) == ["b"]


@pytest.mark.parametrize("folder", ["val", "valid"])
def test_sub_folders_name_the_split(tmp_path, folder):
    make(tmp_path, ["train/a", "train/b", f"{folder}/a"])
    dataset = find(tmp_path)
    assert names(dataset.train) == ["train/a", "train/b"]
    assert names(dataset.validation) == [f"{folder}/a"]
    assert "from the sub-folders" in dataset.notes[1]


def test_folders_of_the_split_may_hold_pictures_and_masks(tmp_path):
    for split in ("train", "valid"):
        make(tmp_path / split, ["a", "b"])
    dataset = find(tmp_path)
    assert names(dataset.train) == ["train/a", "train/b"]
    assert names(dataset.validation) == ["valid/a", "valid/b"]
    assert dataset.validation[0].mask == tmp_path / "valid" / "masks" / "a.png"
    assert dataset.notes[0] == f"layout: train, valid: images/ with masks/ in {tmp_path}"


def test_test_pictures_are_kept_out_where_there_is_a_validation_folder(tmp_path):
    # As with lists. Otherwise the figures that choose the best epoch include the test set.
    make(tmp_path, ["train/a", "val/b", "test/c"])
    dataset = find(tmp_path)
    assert (names(dataset.train), names(dataset.validation)) == (["train/a"], ["val/b"])


def test_lists_given_by_hand_come_before_everything_else(tmp_path):
    make(tmp_path, ["train/a", "train/b", "val/c", "val/d"])
    (tmp_path / "train.txt").write_text("train/b\n")
    (tmp_path / "val.txt").write_text("val/d\n")
    (tmp_path / "mine.txt").write_text("train/a\n")
    (tmp_path / "held_out.txt").write_text("val/c\n")
    dataset = find(
        tmp_path, train_list=tmp_path / "mine.txt", validation_list=tmp_path / "held_out.txt"
    )
    assert (names(dataset.train), names(dataset.validation)) == (["train/a"], ["val/c"])


def test_a_training_list_given_by_hand_is_used_where_sub_folders_name_the_validation(tmp_path):
    make(tmp_path, ["train/a", "train/b", "val/c"])
    (tmp_path / "few.txt").write_text("train/b\n")
    dataset = find(tmp_path, train_list=tmp_path / "few.txt")
    assert (names(dataset.train), names(dataset.validation)) == (["train/b"], ["val/c"])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a", "a"),
        ("a", "a.png"),
        ("a", "a.JPG"),  # written for another copy of the pictures
        ("a", "a Labels/a.png"),  # the first word counts
        ("a", "  a\t1 "),
        ("slice.0.5", "slice.0.5"),
        ("slice.0.5", "slice.0.5.png"),
        ("photo.tif", "photo.tif.png"),
        ("photo.tif", "photo.tif"),
        ("deep/er/a", "deep/er/a"),
        ("deep/er/a", "deep/er/a.png"),
        ("deep/er/a", "a.png"),
        ("über", "über"),
        ("my photo", "my photo"),
        ("my photo", "my photo.png"),
    ],
)
def test_a_line_finds_its_picture(tmp_path, name, line):
    make(tmp_path, [name, "other"])
    (tmp_path / "val.txt").write_text(f"\n{line}\n\n{line}\n", encoding="utf-8")
    assert names(find(tmp_path).validation) == [name]


def test_a_list_written_by_windows_notepad_is_read(tmp_path):
    make(tmp_path, ["a", "b"])
    (tmp_path / "val.txt").write_bytes("a\r\n".encode("utf-8-sig"))
    assert names(find(tmp_path).validation) == ["a"]


def test_a_name_without_its_folder_must_leave_no_doubt(tmp_path):
    make(tmp_path, ["day/a", "night/a", "b"])
    (tmp_path / "val.txt").write_text("b\na\n")
    with pytest.raises(DataError, match=r"val\.txt: line 2: 2 pictures are called a"):
        find(tmp_path)


def test_a_listed_picture_that_is_missing(tmp_path):
    make(tmp_path, ["a", "b"])
    (tmp_path / "train.txt").write_text("a\nabsent.png\n")
    with pytest.raises(DataError, match=r"train\.txt: line 2: no picture is called absent\.png"):
        find(tmp_path)


def test_a_list_that_is_missing_or_binary(tmp_path):
    make(tmp_path, ["a", "b"])
    with pytest.raises(DataError, match=r"cannot read the list .*absent\.txt"):
        find(tmp_path, train_list=tmp_path / "absent.txt")
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match=r"cannot read the list .*val\.txt"):
        find(tmp_path)


def test_only_listed_pictures_need_a_mask(tmp_path):
    # PASCAL VOC 2012 has 17,125 JPEGImages and 2,913 masks, which its lists name.
    make(tmp_path, ["a", "b"], pictures="JPEGImages", masks="SegmentationClass")
    save_picture(tmp_path / "JPEGImages" / "unlabelled.jpg")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    dataset = find(tmp_path)
    assert (names(dataset.train), names(dataset.validation)) == (["a"], ["b"])


def test_pictures_without_a_mask_are_named(tmp_path):
    make(tmp_path, ["a", "b"])
    for number in range(10, 20):
        save_picture(tmp_path / "images" / f"{number}.png")
    with pytest.raises(DataError) as raised:
        find(tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0] == "10 problems in the data:"
    assert lines[1].startswith(f"  {tmp_path / 'images' / '10.png'}: has no mask; draw one")
    assert lines[-1] == "  … and 2 more; 'unet-edge data check' lists them all"


def test_a_listed_picture_without_a_mask_is_named(tmp_path):
    make(tmp_path, ["a", "b"])
    save_picture(tmp_path / "images" / "bare.png")
    (tmp_path / "val.txt").write_text("bare\n")
    with pytest.raises(DataError, match="bare"):
        find(tmp_path)


def test_masks_without_a_picture_do_no_harm(tmp_path):
    make(tmp_path, ["a", "b"])
    save_mask(tmp_path / "masks" / "alone.png")
    dataset = find(tmp_path)
    assert sorted(names([*dataset.train, *dataset.validation])) == ["a", "b"]


@pytest.mark.parametrize("extra", [".hidden.png", ".ipynb_checkpoints/a-checkpoint.png", "n.txt"])
def test_hidden_files_and_other_kinds_are_no_pictures(tmp_path, extra):
    make(tmp_path, ["a", "b"])
    path = tmp_path / "images" / extra
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"whatever")
    dataset = find(tmp_path)
    assert sorted(names([*dataset.train, *dataset.validation])) == ["a", "b"]


def test_two_pictures_of_one_name(tmp_path):
    make(tmp_path, ["a", "b"])
    save_picture(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"two files have the same name: .*a\.jpg and .*a\.png"):
        find(tmp_path)


def test_folders_without_a_data_set_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such data folder"):
        find(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no folders; expected Images/ with Labels/, "):
        find(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "Labels").mkdir()
    with pytest.raises(DataError, match="holds Labels, images; expected"):
        find(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"no pictures \(\.png, \.jpg"):
        find(tmp_path)


# --- split ------------------------------------------------------------------------------------


def test_without_lists_a_fifth_is_drawn_with_the_seed(tmp_path):
    make(tmp_path, [f"s{i}" for i in range(20)])
    first, again, other = find(tmp_path, seed=1), find(tmp_path, seed=1), find(tmp_path, seed=2)
    assert (len(first.train), len(first.validation)) == (16, 4)
    assert set(first.train).isdisjoint(first.validation)
    assert first == again
    assert first.validation != other.validation
    assert "a fifth drawn with seed 1" in first.notes[1]


def test_the_drawn_split_never_changes(tmp_path):
    # NumPy promises Generator.permutation only within a version's stream (NEP 19); a change
    # would silently validate on pictures that an older run was trained on.
    make(tmp_path, [f"s{i}" for i in range(10)])
    assert names(find(tmp_path, seed=0).validation) == ["s4", "s6"]


def test_a_training_list_alone_is_split(tmp_path):
    make(tmp_path, [f"s{i}" for i in range(12)])
    (tmp_path / "train.txt").write_text("\n".join(f"s{i}" for i in range(10)))
    dataset = find(tmp_path)
    assert len(dataset.validation) == 2
    assert {*names(dataset.train), *names(dataset.validation)} == {f"s{i}" for i in range(10)}


def test_samples_are_in_natural_order(tmp_path):
    make(tmp_path, ["slice10", "slice2", "slice1", "slice0x"])
    (tmp_path / "val.txt").write_text("slice0x\n")
    assert names(find(tmp_path).train) == ["slice1", "slice2", "slice10"]


def test_one_picture_is_not_enough(tmp_path):
    make(tmp_path, ["a"])
    with pytest.raises(DataError, match="0 pictures to train on and 1 to validate on"):
        find(tmp_path)
