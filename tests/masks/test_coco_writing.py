"""COCO files of masks, read back by the dataset room and by pycocotools, if installed."""

import json

import numpy as np
import pytest

from unet_edge.dataset.coco import CocoFile
from unet_edge.masks.coco_writing import join_coco
from unet_edge.masks.mask import Mask
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(8, 8, ("background", "cat", "dog"))
LABELS = np.array(
    [
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 2],
        [0, 1, 1, 1, 0, 2],
        [2, 0, 0, 0, 2, 2],
    ],
    np.uint8,
)
MASK = Mask.of(LABELS, SPEC)


def noisy(seed=0):
    random = np.random.default_rng(seed)
    coarse = random.choice(3, (12, 17), p=(0.5, 0.3, 0.2)).astype(np.uint8)
    return Mask.of(np.kron(coarse, np.ones((3, 2), np.uint8)), SPEC)


def test_a_region_with_a_hole_is_run_lengths_and_others_are_polygons():
    file = MASK.coco("photo.jpg")
    assert file["images"] == [{"id": 1, "file_name": "photo.jpg", "width": 6, "height": 4}]
    assert file["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    ring, bar, corner = file["annotations"]
    assert ring == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        # Down the columns: one empty, three inside, and so on around the hole.
        "segmentation": {"size": [4, 6], "counts": [4, 3, 1, 1, 1, 1, 1, 3, 9]},
        "area": 8,
        "bbox": [1, 0, 3, 3],
        "iscrowd": 0,
    }
    assert bar["segmentation"] == [[5, 1, 6, 1, 6, 4, 4, 4, 4, 3, 5, 3]]
    assert (bar["area"], bar["bbox"], bar["category_id"]) == (4, [4, 1, 2, 3], 2)
    assert (corner["segmentation"], corner["area"]) == ([[0, 3, 1, 3, 1, 4, 0, 4]], 1)


def test_run_lengths_have_one_annotation_for_each_class():
    cat, dog = MASK.coco("photo.jpg", "rle")["annotations"]
    assert (cat["category_id"], cat["area"], cat["bbox"]) == (1, 8, [1, 0, 3, 3])
    assert (dog["category_id"], dog["area"], dog["bbox"]) == (2, 5, [0, 1, 6, 3])


@pytest.mark.parametrize("style", ["polygons", "rle"])
def test_our_own_reader_gives_the_labels_back(tmp_path, style):
    masks = {"a.png": MASK, "b/a.png": noisy(), "c.png": noisy(1)}
    path = tmp_path / "annotations.json"
    path.write_text(
        json.dumps(join_coco((name, mask.coco("x", style)) for name, mask in masks.items()))
    )
    found = CocoFile.read(path).draw(SPEC.classes, take_crowds=False)
    assert [picture.file_name for picture in found] == list(masks)
    for picture, mask in zip(found, masks.values(), strict=True):
        assert np.array_equal(picture.labels(), mask.labels)


def test_joined_files_number_pictures_and_annotations_again():
    file = join_coco([("a.png", MASK.coco("x")), ("b.png", MASK.coco("x"))])
    assert [image["id"] for image in file["images"]] == [1, 2]
    assert [a["id"] for a in file["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [a["image_id"] for a in file["annotations"]] == [1, 1, 1, 2, 2, 2]
    assert len(file["categories"]) == 2


def test_a_picture_of_only_background_has_no_annotations():
    file = Mask.of(np.zeros((3, 4), np.uint8), SPEC).coco("x")
    assert file["annotations"] == []


@pytest.mark.parametrize("style", ["polygons", "rle"])
@pytest.mark.parametrize("mask", [MASK, noisy(), noisy(1)], ids=["small", "noisy", "noisier"])
def test_pycocotools_reads_the_same_pixels_areas_and_boxes(tmp_path, mask, style):
    api = pytest.importorskip("pycocotools.coco")
    tools = pytest.importorskip("pycocotools.mask")
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(mask.coco("x.png", style)))
    file = api.COCO(path)
    labels = np.zeros_like(mask.labels)
    for annotation in file.loadAnns(file.getAnnIds()):
        inside = file.annToMask(annotation) == 1
        assert not labels[inside].any()  # regions do not overlap
        labels[inside] = annotation["category_id"]
        runs = file.annToRLE(annotation)
        assert annotation["area"] == tools.area(runs)
        assert annotation["bbox"] == tools.toBbox(runs).tolist()
    assert np.array_equal(labels, mask.labels)
