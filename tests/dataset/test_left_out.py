"""Pictures and masks that are in no pair or in no split: each is named, with a fix."""

import json

import pytest
from dataset_folders import find, make, save_picture
from PIL import Image

from unet_edge.dataset.check import check
from unet_edge.dataset.drawn_split import draw_split
from unet_edge.dataset.settings import DataSettings
from unet_edge.errors import DataError

NAMES = [f"cat_{k:02d}" for k in range(10)]
CLASSES = ("background", "cat")


def findings(root, kind):
    found = check(root, classes=CLASSES).findings
    return {f.file.name: (f.severity, f.found, f.fix) for f in found if f.kind == kind}


def test_pictures_in_no_list_are_reported(tmp_path):
    make(tmp_path, NAMES)
    save_picture(tmp_path / "images" / "bare.png")
    (tmp_path / "train.txt").write_text("\n".join(NAMES[:6]))
    (tmp_path / "val.txt").write_text("\n".join(NAMES[6:9]))
    fix = "add it to a list, or remove it"
    assert findings(tmp_path, "unlisted") == {
        "cat_09.png": ("warning", "is in no list, and so not used", fix),
        "bare.png": (
            "warning",
            "has no mask and is in no list, and so not used",
            "draw its mask and add it to a list, or remove it",
        ),
    }
    assert "2 pictures in no split, left out" in find(tmp_path).notes[1]


def test_a_listed_picture_without_a_mask_is_reported_once(tmp_path):
    make(tmp_path, NAMES)
    (tmp_path / "masks" / "cat_00.png").unlink()
    (tmp_path / "train.txt").write_text("\n".join(NAMES[:6]))
    (tmp_path / "val.txt").write_text("\n".join(NAMES[6:]))
    assert list(findings(tmp_path, "missing-mask")) == ["cat_00.png"]
    assert findings(tmp_path, "unlisted") == {}


def test_pictures_outside_the_folders_of_splits_are_reported(tmp_path):
    make(tmp_path, ["train/a", "val/b", "other/c"])
    fix = "add it to a split's folder, or remove it"
    found = "is in no split's folder, and so not used"
    assert findings(tmp_path, "unlisted") == {"c.png": ("warning", found, fix)}


def test_a_list_that_folders_make_void_is_not_called_a_list(tmp_path):
    make(tmp_path, ["train/a", "val/b", "other/c"])
    (tmp_path / "train.txt").write_text("train/a\nother/c\n")
    ((_, found, fix),) = findings(tmp_path, "unlisted").values()
    assert found == "is in no split's folder, and so not used"
    assert fix == "add it to a split's folder, or remove it"


def test_a_drawn_validation_leaves_no_picture_out(tmp_path):
    make(tmp_path, NAMES)
    assert findings(tmp_path, "unlisted") == {}


@pytest.mark.parametrize(
    ("bare", "note"),
    [
        ([], ""),
        (["x"], "1 picture left out: x.png has no mask"),
        (["x", "y"], "2 pictures left out: x.png, y.png have no mask"),
        (list("vwxyz"), "5 pictures left out: v.png, w.png, x.png, … have no mask"),
    ],
)
def test_a_drawn_split_names_pictures_without_a_mask(tmp_path, bare, note):
    make(tmp_path, NAMES)
    for index, name in enumerate([*NAMES, *bare]):  # pictures that differ
        picture = Image.effect_noise((64, 64), 90 + index)
        picture.save(tmp_path / "images" / f"{name}.png")
        if name not in bare:
            Image.new("L", (64, 64), 1).save(tmp_path / "masks" / f"{name}.png")
    split = draw_split(
        tmp_path, classes=CLASSES, shares=(0.2, 0.1), group_by=None, seed=0,
        settings=DataSettings(),
    )  # fmt: skip
    assert split.note == note
    assert sum(map(len, split.parts.values())) == 10


# --- misnamed files -----------------------------------------------------------------------------


def test_the_only_misnamed_mask_is_suggested(tmp_path):
    make(tmp_path, NAMES)
    mask = tmp_path / "masks" / "foo.png"
    (tmp_path / "masks" / "cat_03.png").rename(mask)
    ((_, found, fix),) = findings(tmp_path, "missing-mask").values()
    assert found == "has no mask"
    assert fix == (
        f"draw one, rename {mask} to cat_03.png if it belongs to this picture, or leave the "
        "picture out with a train.txt"
    )
    ((_, found, fix),) = findings(tmp_path, "missing-picture").values()
    assert found == "has no picture"
    assert fix == "add the picture, rename the mask to cat_03.png, or remove the mask"


def test_of_several_misnamed_masks_similar_names_of_equal_numbers_are_suggested(tmp_path):
    make(tmp_path, NAMES)
    masks = tmp_path / "masks"
    (masks / "cat_03.png").rename(masks / "cat-03.png")
    (masks / "cat_04.png").rename(masks / "cat_24.png")
    fixes = {name: fix for name, (_, _, fix) in findings(tmp_path, "missing-mask").items()}
    assert f"rename {masks / 'cat-03.png'} to cat_03.png if" in fixes["cat_03.png"]
    assert "rename" not in fixes["cat_04.png"]


def test_a_missing_labelme_file_is_named(tmp_path):
    shapes = [{"shape_type": "rectangle", "points": [[0, 0], [2, 2]], "label": "cat"}]
    for name in NAMES:
        save_picture(tmp_path / f"{name}.png")
        data = {"imageHeight": 3, "imageWidth": 4, "shapes": shapes}
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    (tmp_path / "cat_03.json").unlink()
    fix = "annotate it with labelme, or leave the picture out with a train.txt"
    with pytest.raises(DataError, match=rf"cat_03\.png: has no cat_03\.json; {fix}"):
        find(tmp_path)


def test_where_most_pictures_have_no_mask_that_is_not_reported(tmp_path):
    make(tmp_path, NAMES[:4])
    for number in range(5):
        save_picture(tmp_path / "images" / f"bare{number}.png")
    (tmp_path / "train.txt").write_text("\n".join(NAMES[:2]))
    (tmp_path / "val.txt").write_text(NAMES[2])
    assert list(findings(tmp_path, "unlisted")) == [f"{NAMES[3]}.png"]


@pytest.mark.parametrize(
    ("mask", "place"),
    [
        ("cat_3", "masks/train/"),
        ("val/cat_3", "masks/train/"),
        ("train/more/cat_3", "masks/train/"),
        ("cat-3", "masks/train/cat_3.png"),
    ],
)
def test_a_mask_in_another_folder_than_its_picture_is_to_be_moved(tmp_path, mask, place):
    make(tmp_path, ["train/a", "val/b"])
    save_picture(tmp_path / "images" / "train" / "cat_3.png")
    save_picture(tmp_path / "masks" / f"{mask}.png")
    there = f"{tmp_path}/{place}"
    (missing,) = findings(tmp_path, "missing-picture").values()
    assert missing[2] == f"add the picture, move the mask to {there}, or remove the mask"
    (missing,) = findings(tmp_path, "missing-mask").values()
    mask_file = tmp_path / "masks" / f"{mask}.png"
    assert missing[2].startswith(
        f"draw one, move {mask_file} to {there} if it belongs to this picture, or "
    )


def test_a_mask_is_moved_inside_the_folder_of_its_split(tmp_path):
    make(tmp_path / "train", ["a"])
    make(tmp_path / "val", ["b"])
    save_picture(tmp_path / "train" / "images" / "cat_3.png")
    save_picture(tmp_path / "train" / "masks" / "more" / "cat_3.png")
    (missing,) = findings(tmp_path, "missing-picture").values()
    place = f"{tmp_path}/train/masks/"
    assert missing[2] == f"add the picture, move the mask to {place}, or remove the mask"


@pytest.mark.parametrize(("picture", "place"), [("cat_3.png", ""), ("cat-3.png", "cat-3_mask.png")])
def test_a_mask_that_is_moved_keeps_the_pattern_of_its_name(tmp_path, picture, place):
    make(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        (tmp_path / "masks" / f"{name}.png").rename(tmp_path / "masks" / f"{name}_mask.png")
    save_picture(tmp_path / "images" / "new" / picture)
    save_picture(tmp_path / "masks" / "cat_3_mask.png")
    found = check(tmp_path, classes=CLASSES, mask_names="NAME_mask").findings
    (fix,) = [f.fix for f in found if f.kind == "missing-picture"]
    assert f"move the mask to {tmp_path}/masks/new/{place}, or" in fix
