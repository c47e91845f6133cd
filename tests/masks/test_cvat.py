"""CVAT's XML, read by a parser and decoded as its documentation says."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from unet_edge.masks.cvat import cvat_xml
from unet_edge.masks.mask import Mask
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(8, 8, ("background", "cat", 'a "dog" & co'))
LABELS = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 2],
        [0, 0, 1, 0, 0, 2],
        [0, 0, 1, 1, 0, 0],
    ],
    np.uint8,
)


def drawn(image: ElementTree.Element, classes: tuple[str, ...]) -> np.ndarray:
    """The labels of an image element: run lengths go along the rows of each mask's box."""
    labels = np.zeros((int(image.get("height")), int(image.get("width"))), np.uint8)
    for mask in image.iter("mask"):
        left, top, width, height = (
            int(mask.get(key)) for key in ("left", "top", "width", "height")
        )
        runs = [int(run) for run in mask.get("rle").split(",")]
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        labels[top : top + height, left : left + width][inside] = classes.index(mask.get("label"))
    return labels


def test_masks_are_run_lengths_along_the_rows_of_their_boxes():
    (image,) = ElementTree.fromstring(
        cvat_xml([("a.jpg", Mask.of(LABELS, SPEC))], SPEC.classes, SPEC.palette)
    ).iter("image")
    cat, dog = image
    assert cat.attrib == {
        "label": "cat", "source": "auto", "occluded": "0", "z_order": "0",
        "rle": "0, 3, 1, 2", "left": "2", "top": "1", "width": "2", "height": "3",
    }  # fmt: skip
    assert (dog.get("rle"), dog.get("left"), dog.get("top")) == ("0, 2", "5", "1")


def test_every_mask_decodes_to_the_same_labels():
    noise = np.random.default_rng(0).choice(3, (11, 17)).astype(np.uint8)
    masks = {
        "a.jpg": LABELS, "b & c/<d>.jpg": noise, "empty.jpg": np.zeros((2, 3), np.uint8),
    }  # fmt: skip
    root = ElementTree.fromstring(
        cvat_xml(
            ((name, Mask.of(labels, SPEC)) for name, labels in masks.items()),
            SPEC.classes,
            SPEC.palette,
        )
    )
    assert root.findtext("version") == "1.1"
    assert [name.text for name in root.iterfind("meta/task/labels/label/name")] == [
        "cat",
        'a "dog" & co',
    ]
    images = list(root.iter("image"))
    assert [image.get("name") for image in images] == list(masks)
    assert [image.get("id") for image in images] == ["0", "1", "2"]
    for image, labels in zip(images, masks.values(), strict=True):
        assert np.array_equal(drawn(image, SPEC.classes), labels)
