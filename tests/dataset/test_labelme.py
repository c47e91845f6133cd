"""labelme files: shapes, labels, and how they are refused."""

import json

import pytest
from PIL import Image

from unet_edge.dataset import find_dataset
from unet_edge.dataset.labelme import read_labelme
from unet_edge.errors import DataError

CLASSES = ("background", "cat", "dog")


def shape(kind, points, label="cat"):
    return {"shape_type": kind, "points": points, "label": label}


def write(path, *shapes, **changes):
    data = {"imageHeight": 4, "imageWidth": 6, "shapes": list(shapes)} | changes
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        ("rectangle", [[1, 1], [3, 2]], [[0] * 6, [0, 1, 1, 0, 0, 0], [0] * 6, [0] * 6]),
        ("rectangle", [[3, 2], [1, 1]], [[0] * 6, [0, 1, 1, 0, 0, 0], [0] * 6, [0] * 6]),
        (
            "circle",
            [[2.5, 1.5], [2.5, 2.5]],
            [[0, 0, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0] * 6],
        ),
        (
            "polygon",
            [[0, 0], [4, 4], [0, 4]],
            [[0] * 6, [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]],
        ),
        (None, [[0, 0], [6, 0], [6, 1], [0, 1]], [[1] * 6, [0] * 6, [0] * 6, [0] * 6]),
    ],
)
def test_shapes(tmp_path, kind, points, expected):
    labels = read_labelme(write(tmp_path / "a.json", shape(kind, points)), CLASSES)
    assert labels.tolist() == expected


def test_later_shapes_cover_earlier_ones_and_background_cuts_holes(tmp_path):
    whole = [[0, 0], [6, 4]]
    path = write(
        tmp_path / "a.json",
        shape("rectangle", whole, "dog"),
        shape("rectangle", [[1, 1], [5, 3]], "cat"),
        shape("rectangle", [[2, 1], [3, 3]], "_background_"),
        shape("rectangle", [[4, 1], [5, 3]], "__ignore__"),
    )
    assert read_labelme(path, CLASSES)[1].tolist() == [2, 1, 0, 1, 255, 2]


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ([shape("line", [[0, 0], [1, 1]])], "the shape type line covers no area; draw a polygon"),
        ([shape("point", [[0, 0]])], "the shape type point covers no area"),
        ([shape("mask", [[0, 0], [1, 1]])], "the mask is not a PNG in base64; draw it again"),
        (
            [shape("cuboid", [[0, 0], [1, 1]])],
            "this version does not read the shape type cuboid; draw a polygon",
        ),
        ([shape("polygon", [[0, 0], [1, 1]])], "at least 3 points"),
        ([shape("rectangle", [[0, 0], [1, 1], [2, 2]])], "it has 3 points; expected two points"),
        ([shape("circle", [[0, 0]])], "at least 2 points"),
        ([shape("circle", [[0, 0], [1, "x"]])], "two numbers"),
        ([shape("polygon", "text")], "expected a list of points"),
        ([shape("polygon", [1, 2, 3])], "expected a list of points"),
        (
            [shape("polygon", [[0, 0], [1, 1], [1, 0]], "horse")],
            "the label 'horse' is not among the classes background, cat, dog; name them with "
            "--classes, the background first: --classes background,cat,dog,horse",
        ),
        ([shape("polygon", [[0, 0], [1, 1], [1, 0]], ["cat"])], "is not the name of a class"),
        ([7], "expected a list of points"),
    ],
)
def test_an_unpaintable_shape_is_refused_with_its_file(tmp_path, shapes, says):
    path = write(tmp_path / "odd.json", *shapes)
    with pytest.raises(DataError, match=rf"odd\.json: shape 1: .*{says}"):
        read_labelme(path, CLASSES)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shapes": None}, "is not a labelme file; expected a list of shapes"),
        ({"imageHeight": None}, "the size is 6 x None; expected two positive"),
        ({"imageWidth": "6"}, "the size is '6' x "),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, changes, says):
    with pytest.raises(DataError, match=rf"odd\.json.*{says}"):
        read_labelme(write(tmp_path / "odd.json", **changes), CLASSES)


@pytest.mark.parametrize("folder", [".", "images"])
def test_files_beside_the_pictures(tmp_path, folder):
    at = tmp_path / folder
    at.mkdir(exist_ok=True)
    for name in ("a", "b"):
        Image.new("RGB", (6, 4)).save(at / f"{name}.jpg")
        write(at / f"{name}.json", shape("rectangle", [[0, 0], [3, 4]]))
    dataset = find_dataset(tmp_path, classes=CLASSES)
    assert dataset.read(dataset.train[0])[1].sum() == 12
    assert dataset.notes[0] == f"layout: labelme files beside the pictures in {at}"


def test_a_picture_without_a_file_has_no_mask(tmp_path):
    for name in ("a", "b", "c"):
        Image.new("RGB", (6, 4)).save(tmp_path / f"{name}.jpg")
        write(tmp_path / f"{name}.json", shape("rectangle", [[0, 0], [3, 4]]))
    (tmp_path / "c.json").unlink()
    with pytest.raises(DataError, match=r"c\.jpg: has no c\.json; annotate it"):
        find_dataset(tmp_path, classes=CLASSES)
