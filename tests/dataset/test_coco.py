"""COCO files: where they are found, what they may contain, and which ones are refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unet_edge.dataset import check_dataset, find_dataset
from unet_edge.errors import DataError
from unet_edge.spec import IGNORE

CLASSES = ("background", "cat")
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (1, 2, 3)).save(path)


def image(number, name):
    return {"id": number, "file_name": name, "height": 4, "width": 6}


def region(image_id, **more):
    base = {"id": 10 + image_id, "image_id": image_id, "category_id": 1, "segmentation": [SQUARE]}
    return base | more


def file(names, annotations=None):
    return {
        "images": [image(i, name) for i, name in enumerate(names)],
        "annotations": [region(i) for i in range(len(names))]
        if annotations is None
        else annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def names(samples):
    return [sample.name for sample in samples]


def test_pictures_are_beside_the_file_or_in_images(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "images" / "b.png")
    picture(tmp_path / "deep" / "er" / "c.png")
    write(tmp_path / "annotations.json", file(["a.png", "b.png", "deep\\er\\c.png"]))
    dataset = find_dataset(tmp_path, classes=CLASSES)
    found = sorted([*dataset.train, *dataset.validation], key=lambda sample: sample.name)
    assert [sample.image.relative_to(tmp_path).as_posix() for sample in found] == [
        "a.png",
        "images/b.png",
        "deep/er/c.png",
    ]
    assert dataset.notes[0] == "layout: COCO, annotations.json"


def test_the_official_folders(tmp_path):
    for split, listed in (("train", ["1.png", "2.png"]), ("val", ["3.png"])):
        for name in listed:
            picture(tmp_path / f"{split}2017" / name)
        write(tmp_path / "annotations" / f"instances_{split}2017.json", file(listed))
        (tmp_path / "annotations" / f"captions_{split}2017.json").write_text("{}")
    dataset = find_dataset(tmp_path, classes=CLASSES)
    assert names(dataset.train) == ["train/1", "train/2"]
    assert names(dataset.validation) == ["val/3"]
    check_dataset(dataset)


def test_roboflows_folders(tmp_path):
    for split in ("train", "valid"):
        picture(tmp_path / split / "a.png")
        write(tmp_path / split / "_annotations.coco.json", file(["a.png"]))
    dataset = find_dataset(tmp_path, classes=CLASSES)
    assert (names(dataset.train), names(dataset.validation)) == (["train/a"], ["valid/a"])


@pytest.fixture
def data(tmp_path):
    """A sound data set of two pictures."""
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    write(tmp_path / "annotations.json", file(["a.png", "b.png"]))
    return tmp_path


def labels(root, annotations, **options):
    write(root / "annotations.json", file(["a.png", "b.png"], annotations))
    dataset = find_dataset(root, classes=CLASSES, **options)
    (sample,) = [s for s in (*dataset.train, *dataset.validation) if s.name == "a"]
    return dataset.read(sample)[1]


def test_a_picture_without_regions_is_background(data):
    assert not labels(data, []).any()


def test_several_rings_are_one_region(data):
    found = labels(data, [region(0, segmentation=[[0, 0, 1, 0, 1, 1, 0, 1], SQUARE])])
    assert found.sum() == 1 + 4


@pytest.mark.parametrize("mark", ["iscrowd", "ignore"])
def test_crowds_and_ignored_regions(data, mark):
    found = labels(data, [region(0, **{mark: 1}, category_id=1)], crowds="ignore")
    assert (found == IGNORE).sum() == 4


def test_later_regions_cover_earlier_ones(data):
    over = region(0, segmentation=[[2, 0, 6, 0, 6, 4, 2, 4]], iscrowd=1)
    assert labels(data, [region(0), over]).tolist() == [
        [0, 0, 255, 255, 255, 255],
        [0, 1, 255, 255, 255, 255],
        [0, 1, 255, 255, 255, 255],
        [0, 0, 255, 255, 255, 255],
    ]
    assert labels(data, [over, region(0)])[1].tolist() == [0, 1, 1, 255, 255, 255]


def test_an_ignored_class(data):
    assert (labels(data, [region(0)], ignore=1) == IGNORE).sum() == 4


def test_mask_folders_come_first_unless_polygons_are_asked_for(data):
    for name in ("a", "b"):
        picture(data / "images" / f"{name}.png")
        (data / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.eye(4, 6, dtype=np.uint8)).save(data / "masks" / f"{name}.png")
    assert str(find_dataset(data, classes=CLASSES).rule) == "index"
    assert str(find_dataset(data, classes=CLASSES, masks="polygons").rule) == "polygons"
    shutil.rmtree(data / "masks")
    with pytest.raises(
        DataError, match=r"expected Images/ .*; pass --masks polygons to read .*annotations\.json"
    ):
        find_dataset(data, classes=CLASSES, masks="index")


def test_an_unknown_category_is_named_with_its_fix(data):
    with pytest.raises(DataError, match=r"draws cat, not among the classes background, dog.*--cla"):
        find_dataset(data, classes=("background", "dog"))


def change(key, **values):
    def apply(data):
        data[key][0] |= values

    return apply


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda d: d.pop("images"), "is not a COCO file; expected a list of objects as images"),
        (lambda d: d.update(annotations={}), "expected a list of objects as annotations"),
        (lambda d: d.update(categories=[3]), "expected a list of objects as categories"),
        (change("images", id=[0]), r"id is \[0\]; expected a whole number or a text"),
        (change("images", id=1), "two images have the id 1"),
        (change("images", file_name=None), "file_name None names no picture"),
        (change("images", file_name="../secret.png"), "leads out of the data folder"),
        (change("images", file_name="/etc/passwd"), "leads out of the data folder"),
        (change("images", file_name="C:\\a.png"), "leads out of the data folder"),
        (change("images", file_name="x\\..\\..\\a.png"), "leads out of the data folder"),
        (change("images", file_name="gone.png"), r"names gone\.png, which is missing"),
        (change("annotations", image_id=9), "annotation 10: the file does not list its image, 9"),
        (
            change("annotations", category_id=9),
            "10: the file does not list its category, 9",
        ),
        (change("annotations", category_id=None), "category_id is None"),
    ],
)
def test_a_damaged_file_is_refused_at_once(data, damage, says):
    content = file(["a.png", "b.png"])
    damage(content)
    write(data / "annotations.json", content)
    with pytest.raises(DataError, match=says):
        find_dataset(data, classes=CLASSES)


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        ([], "has neither polygons nor run lengths; export masks or polygons"),
        (None, "has neither polygons"),
        ("text", "has neither polygons"),
        ([[1, 2, 3, 4]], "at least 3 points"),
        ([[1, 2, 3, 4, 5, "x"]], "two numbers"),
        ([[1, 2, 3, 4, 5, [6]]], "two numbers"),
        ({"size": [4, 6], "counts": [3, 4]}, "run lengths are damaged"),
        ({"size": [4, 6], "counts": [3, "a"]}, "run lengths are damaged"),
        ({"size": [4, 6], "counts": "P"}, "run lengths are damaged"),
        ({"size": [6, 4], "counts": [24]}, "the mask has 4x6 px, the picture 6x4"),
        ({"counts": [24]}, "has neither polygons"),
    ],
)
def test_a_damaged_region_is_refused_with_its_number(data, segmentation, says):
    with pytest.raises(DataError, match=rf"annotations\.json: annotation 10: .*{says}"):
        labels(data, [region(0, segmentation=segmentation)])


def test_a_picture_of_another_size_is_refused(data):
    content = file(["a.png", "b.png"])
    content["images"][0]["width"] = 7
    write(data / "annotations.json", content)
    with pytest.raises(DataError, match=r"a\.png: the mask has 7x4 px, the picture 6x4"):
        check_dataset(find_dataset(data, classes=CLASSES))
