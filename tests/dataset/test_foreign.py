"""Annotations of other tools: what is read of each, and the errors for the rest.

The table of shapes is in docs/annotation-tools.md; this holds it.
"""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import make, save_picture
from PIL import Image

from unet_edge.dataset import find_dataset
from unet_edge.dataset.check import check
from unet_edge.dataset.find import _warnings
from unet_edge.dataset.findings import Finding
from unet_edge.dataset.labelme import read_labelme
from unet_edge.errors import DataError

CLASSES = ("background", "cat")


def labelme(root, *shapes):
    path = root / "a.json"
    path.write_text(json.dumps({"imageHeight": 6, "imageWidth": 8, "shapes": list(shapes)}))
    return path


def bits(rows):
    buffer = io.BytesIO()
    Image.fromarray(np.array(rows, bool)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def mask(points, rows, **more):
    return {"label": "cat", "points": points, "shape_type": "mask", "mask": bits(rows)} | more


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([[2, 1], [4, 2]], [(1, 2), (1, 4), (2, 3)]),
        ([[-1, 1], [1, 2]], [(1, 1), (2, 0)]),  # pixels outside are cut off
        ([[6, 5], [8, 6]], [(5, 6)]),
        ([[20, 20], [22, 21]], []),
        ([[-9, -9], [-7, -8]], []),
    ],
)
def test_labelmes_ai_mask(tmp_path, corners, expected):
    path = labelme(tmp_path, mask(corners, [[1, 0, 1], [0, 1, 0]]))
    labels = read_labelme(path, CLASSES)
    assert [tuple(place) for place in np.argwhere(labels)] == expected


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (mask([[0, 0], [3, 3]], [[1]]), "the mask has 1x1 px, its corners span 4x4"),
        (mask([[0, 0], [0, 0]], [[1]], mask="no base64"), "not a PNG in base64"),
        (mask([[0, 0], [0, 0]], [[1]], mask=None), "not a PNG in base64"),
        (mask([[0, 0], [0, 0]], [[1]], mask=7), "not a PNG in base64"),
        (mask([[0, 0]], [[1]]), "at least 2 points"),
    ],
)
def test_a_damaged_ai_mask(tmp_path, shape, says):
    with pytest.raises(DataError, match=f"shape 1.*{says}"):
        read_labelme(labelme(tmp_path, shape), CLASSES)


def test_an_oriented_rectangle(tmp_path):
    corners = [[2, 1], [5, 1], [5, 3], [2, 3]]
    shape = {"label": "cat", "points": corners, "shape_type": "oriented_rectangle"}
    assert read_labelme(labelme(tmp_path, shape), CLASSES).sum() == 6


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_points_and_lines_cover_no_area(tmp_path, kind):
    shape = {"label": "cat", "points": [[0, 0], [1, 1]], "shape_type": kind}
    with pytest.raises(DataError, match=f"the shape type {kind} covers no area"):
        read_labelme(labelme(tmp_path, shape), CLASSES)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("via_region_data.json", "a VGG Image Annotator project.*export its annotations as COCO"),
        ("train/via_region_data.json", "a VGG Image Annotator project"),
        ("via_project_7.json", "a VGG Image Annotator project"),
        ("annotations.xml", "CVAT's own XML.*COCO 1.0"),
        ("meta.json", "a Supervisely project.*as COCO"),
        ("ds1/ann/a.png.json", "a Supervisely project"),
        ("data.yaml", "YOLO labels.*COCO Segmentation"),
        ("train/labels/a.txt", "YOLO labels"),
        ("Annotations/a.xml", "XML annotations, which hold boxes"),
    ],
)
def test_an_unread_format_is_named_with_what_to_export(tmp_path, file, says):
    save_picture(tmp_path / "train" / "a.png")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(DataError, match=says):
        find_dataset(tmp_path, classes=CLASSES)
    (finding,) = check(tmp_path, classes=CLASSES).findings
    assert finding.kind == "layout"


# --- COCO, as CVAT, Roboflow, Supervisely and VIA export it ------------------------------------

BOX = [1, 1, 3, 1, 3, 3, 1, 3]


def coco(root, annotations, *, ids=lambda number: number):
    for name in ("a", "b"):
        save_picture(root / f"{name}.png", (6, 4))
    images = [
        {"id": ids(k), "file_name": f"{n}.png", "height": 4, "width": 6}
        for k, n in enumerate(("a", "b"))
    ]
    regions = [
        {"id": k, "image_id": ids(image), "category_id": ids(1), "segmentation": [BOX]} | more
        for k, (image, more) in enumerate(annotations)
    ]
    data = {
        "images": images,
        "annotations": regions,
        "categories": [{"id": ids(1), "name": "cat"}],
    }
    (root / "annotations.json").write_text(json.dumps(data))
    return root


def drawn(root, **settings):
    dataset = find_dataset(root, **{"classes": CLASSES} | settings)
    samples = {sample.name: sample for sample in (*dataset.train, *dataset.validation)}
    return dataset, [dataset.read(samples[name])[1] for name in ("a", "b")]


CROWD = {"iscrowd": 1}


def test_crowds_of_a_file_that_has_only_them_are_objects(tmp_path):
    dataset, labels = drawn(coco(tmp_path, [(0, CROWD), (1, CROWD)]))
    assert [int((found == 1).sum()) for found in labels] == [4, 4]
    assert "2 of 2 regions are iscrowd, taken as objects" in dataset.notes[0]


@pytest.mark.parametrize(
    ("crowds", "label", "warned"), [("auto", 255, True), ("ignore", 255, False), ("take", 1, False)]
)
def test_crowds_among_other_regions_are_reported(tmp_path, crowds, label, warned):
    root = coco(tmp_path, [(0, CROWD), (1, {})])
    dataset, labels = drawn(root, crowds=crowds)
    assert [int(found.max()) for found in labels] == [label, 1]
    assert "1 of 2 regions are iscrowd" in dataset.notes[0]
    assert any("--crowds take" in note for note in dataset.notes) == warned
    kinds = [finding.kind for finding in check(root, classes=CLASSES, crowds=crowds).findings]
    assert ("crowds" in kinds) == warned


def test_ids_may_be_text(tmp_path):
    _, labels = drawn(coco(tmp_path, [(0, {}), (1, {})], ids=str))
    assert [int(found.sum()) for found in labels] == [4, 4]


@pytest.mark.parametrize("read", [coco, "labelme"])
def test_a_category_that_becomes_class_0_is_warned_about(tmp_path, read):
    if read == "labelme":
        for name in ("b", "a"):  # each is written as a.json
            save_picture(tmp_path / f"{name}.png", (8, 6))
            shape = {"label": "cat", "points": [[0, 0], [2, 2]], "shape_type": "rectangle"}
            labelme(tmp_path, shape).rename(tmp_path / f"{name}.json")
    else:
        coco(tmp_path, [(0, {}), (1, {})])
    dataset = find_dataset(tmp_path, classes=("cat", "dog"))
    (warning,) = [note for note in dataset.notes if note.startswith("WARNING")]
    assert "draws cat, which is class 0" in warning
    assert warning.endswith("name the background first: --classes background,cat,dog")
    kinds = {finding.kind for finding in check(tmp_path, classes=("cat", "dog")).findings}
    assert "class-zero" in kinds


def test_a_background_that_was_drawn_is_no_mistake(tmp_path):
    root = coco(tmp_path, [(0, {}), (1, {})])
    path = root / "annotations.json"
    path.write_text(path.read_text().replace('"name": "cat"', '"name": "Background"'))
    kinds = {f.kind for f in check(root, classes=("Background", "cat")).findings}
    assert "class-zero" not in kinds


def test_an_unknown_category_suggests_the_complete_option(tmp_path):
    root = coco(tmp_path, [(0, {}), (1, {})])
    with pytest.raises(DataError, match=r"--classes background,cat$"):
        find_dataset(root, classes=("background", "object"))


@pytest.mark.parametrize("typo", ["cta", "Cat", "cats"])
def test_a_class_that_was_typed_wrong_is_recognised(tmp_path, typo):
    fix = f"did you mean cat for {typo}? Then pass --classes background,cat"
    (tmp_path / "coco").mkdir()
    root = coco(tmp_path / "coco", [(0, {}), (1, {})])
    with pytest.raises(DataError, match=rf"{re.escape(fix)}$"):
        find_dataset(root, classes=("background", typo))
    (tmp_path / "labelme").mkdir()
    shape = {"label": "cat", "points": [[0, 0], [2, 2]], "shape_type": "rectangle"}
    file = labelme(tmp_path / "labelme", shape)
    with pytest.raises(DataError, match=rf"{re.escape(fix)}$"):
        read_labelme(file, ("background", typo))


def test_the_option_for_labelme_names_the_labels_of_all_files(tmp_path):
    for name in ("cat", "dog"):
        shape = {"label": name, "points": [[0, 0], [2, 2]], "shape_type": "rectangle"}
        file = labelme(tmp_path, shape).rename(tmp_path / f"{name}.json")
    with pytest.raises(DataError, match=r"the background first: --classes background,cat,dog$"):
        read_labelme(file, ("background", "object"))


@pytest.mark.parametrize("background", ["background", "Background", "_background_"])
def test_a_background_that_is_not_the_first_class_is_warned_about(tmp_path, background):
    root = coco(tmp_path, [(0, {}), (1, {})])
    dataset = find_dataset(root, classes=("cat", background))
    (warning,) = [note for note in dataset.notes if note.startswith("WARNING")]
    assert warning == (
        f"WARNING: {root}: {background} is class 1, and cat is class 0; name the background "
        f"first: --classes {background},cat"
    )
    kinds = [finding.kind for finding in check(root, classes=(background, "cat")).findings]
    assert "class-zero" not in kinds


@pytest.mark.parametrize("masks", ["auto", "index", "binary>127", "colors:#000000,#010203"])
def test_masks_whose_values_give_the_order_of_the_classes_are_not_warned_about(tmp_path, masks):
    root = make(tmp_path, ["a", "b", "c"])
    if masks.startswith("colors"):
        for path in (root / "masks").iterdir():
            save_picture(path)  # of one colour
    dataset = find_dataset(root, classes=("cat", "background"), masks=masks)
    assert not [note for note in dataset.notes if note.startswith("WARNING")]
    kinds = {f.kind for f in check(root, classes=("cat", "background"), masks=masks).findings}
    assert "class-zero" not in kinds


def test_a_labelmap_is_matched_by_name_so_a_background_that_is_not_first_is_warned_about(tmp_path):
    root = make(tmp_path, ["a", "b", "c"])
    for path in (root / "masks").iterdir():
        save_picture(path)
    (root / "labelmap.txt").write_text("background:0,0,0::\ncat:1,2,3::\n")
    notes = find_dataset(root, classes=("cat", "background")).notes
    assert notes[-1].endswith("name the background first: --classes background,cat")


def test_the_classes_of_a_model_have_their_order(tmp_path):
    root = coco(tmp_path, [(0, {}), (1, {})])
    dataset = find_dataset(root, classes=("cat", "background"), fixed_classes=True)
    assert not [note for note in dataset.notes if note.startswith("WARNING")]


@pytest.mark.parametrize(
    ("hidden", "end"),
    [
        (0, ""),
        (1, "1 more warning; 'unet-edge data check --all' lists them"),
        (2, "2 more warnings; 'unet-edge data check --all' lists them"),
    ],
)
def test_beyond_eight_warnings_a_line_says_where_the_others_are(hidden, end):
    findings = [
        Finding("warning", "crowds", Path(f"{k}.json"), f"found {k}", "fix")
        for k in range(8 + hidden)
    ]
    lines = _warnings(findings, "; 'unet-edge data check --all' lists them")
    assert lines[:8] == [f"WARNING: {k}.json: found {k}; fix" for k in range(8)]
    assert lines[8:] == ([f"WARNING: and {end}"] if end else [])
