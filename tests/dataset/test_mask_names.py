"""Masks that are named otherwise than their pictures: what is read, and what is suggested."""

import pytest
from dataset_folders import find, make, names, save_mask, save_picture

from unet_edge.dataset.check import check
from unet_edge.errors import ConfigError, DataError


def named(root, pictures, masks):
    for picture, mask in zip(pictures, masks, strict=True):
        save_picture(root / "images" / f"{picture}.jpg")
        if mask:
            save_mask(root / "masks" / f"{mask}.png")
    (root / "masks").mkdir(exist_ok=True)
    return root


TREES = [f"tree_{k}" for k in range(12)]


@pytest.mark.parametrize(
    ("pictures", "masks", "pattern"),
    [
        (TREES, [f"{n}_mask" for n in TREES], "NAME_mask"),
        (TREES, [f"{n}_label" for n in TREES], "NAME_label"),
        (TREES, [f"{n}_L" for n in TREES], "NAME_L"),  # CamVid
        (TREES, [f"mask-{n}" for n in TREES], "mask-NAME"),
        (TREES, [f"{n}.jpg" for n in TREES], "NAME.jpg"),
        (
            [f"{n}_leftImg8bit" for n in TREES],  # Cityscapes
            [f"{n}_gtFine_labelIds" for n in TREES],
            "NAME_leftImg8bit=NAME_gtFine_labelIds",
        ),
        ([f"train/{n}" for n in TREES], [f"train/{n}_mask" for n in TREES], "NAME_mask"),
    ],
)
def test_the_scheme_is_suggested_and_read(tmp_path, pictures, masks, pattern):
    root = named(tmp_path, pictures, masks)
    with pytest.raises(DataError) as raised:
        find(root)
    message = str(raised.value)
    assert pictures[0] in message
    assert masks[0] in message
    assert message.endswith(f"pass --mask-names {pattern}")
    dataset = find(root, mask_names=pattern)
    assert sorted(names([*dataset.train, *dataset.validation])) == sorted(pictures)
    (finding,) = check(root, classes=("a", "b")).findings
    assert (finding.kind, finding.fix) == ("layout", f"pass --mask-names {pattern}")


def test_label_studios_names_do_not_say_the_picture(tmp_path):
    masks = [f"task-{k}-annotation-{k}-by-1-tag-tree-0" for k in range(12)]
    with pytest.raises(DataError, match=r"Label Studio's names.*export as COCO, or rename"):
        find(named(tmp_path, TREES, masks))


def test_names_without_a_common_part(tmp_path):
    masks = [f"{k:02x}" for k in range(100, 112)]
    with pytest.raises(DataError, match="give each mask its picture's name"):
        find(named(tmp_path, TREES, masks))


def test_an_empty_folder_of_masks(tmp_path):
    with pytest.raises(DataError, match=r"masks holds no masks .* for the 12 pictures \(tree_0, "):
        find(named(tmp_path, TREES, [None] * 12))


def test_a_mask_that_does_not_fit_the_scheme_is_of_no_picture(tmp_path):
    root = named(tmp_path, TREES[:3], ["tree_0_mask", "tree_1_mask", "tree_2-mask"])
    found = {f.kind for f in check(root, classes=("a", "b"), mask_names="NAME_mask").findings}
    assert {"missing-mask", "missing-picture"} <= found


@pytest.mark.parametrize("pattern", ["_mask", "NAMENAME", "masks/NAME", "x=NAME", "NAME_a="])
def test_a_scheme_without_a_name(tmp_path, pattern):
    make(tmp_path, ["a", "b"])
    with pytest.raises(ConfigError, match="must contain NAME once"):
        find(tmp_path, mask_names=pattern)


@pytest.mark.parametrize("listed", [("train", "val"), ("train",), ("val",), ("train", "test")])
def test_lists_that_name_only_missing_pictures(tmp_path, listed):
    make(tmp_path, ["a", "b"])
    for name in listed:
        (tmp_path / f"{name}.txt").write_text("/elsewhere/x.png\n/elsewhere/y.png\n")
    report = check(tmp_path, classes=("a", "b"))
    assert {"listed-missing", "split"} & {finding.kind for finding in report.findings}
    assert report.errors
    missing = [f for f in report.findings if f.kind == "listed-missing"]
    assert len(missing) == 2 * len(listed)
    assert str(tmp_path) in missing[0].fix
    assert missing[0].fix.endswith(".png")
