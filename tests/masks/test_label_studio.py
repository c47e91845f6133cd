"""Label Studio's tasks: brush masks decoded as its own reader does, and its labelling interface."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from unet_edge.masks.label_studio import brush_rle, labelling_config, task
from unet_edge.masks.mask import Mask
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(8, 8, ("background", "cat", 'a "dog" & co'))


def decoded(rle: list[int]) -> np.ndarray:
    """The bytes of run lengths, as @thi.ng/rle-pack decodes them in Label Studio."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    position = 0

    def read(count: int) -> int:
        nonlocal position
        position += count
        assert position <= len(bits)
        return int(bits[position - count : position], 2)

    out = np.zeros(read(32), np.uint8)
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    index = 0
    while index < len(out):
        repeated = read(1)
        end = index + 1 + read(sizes[read(2)])
        assert end <= len(out)
        if repeated:
            out[index:end] = read(word)
            index = end
        while index < end:
            out[index] = read(word)
            index += 1
    assert len(bits) - position < 8
    return out


def test_run_lengths_are_the_bytes_that_label_studios_own_encoder_gives():
    """label_studio_sdk 2.1.2, converter.brush.encode_rle of 4 x 0, 8 x 255 and 4 x 0."""
    expected = [0, 0, 0, 16, 57, 27, 252, 96, 19, 255, 198, 0]
    assert brush_rle(np.array([[0, 1, 1, 0]], bool)) == expected


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (150, 333)])
@pytest.mark.parametrize("kind", ["empty", "full", "noise", "half"])
def test_a_brush_mask_decodes_to_the_same_pixels(shape, kind):
    inside = {
        "empty": np.zeros(shape, bool),
        "full": np.ones(shape, bool),  # 4 x 49950 bytes: longer than the longest run, 65536
        "noise": np.random.default_rng(0).random(shape) < 0.3,
        "half": np.arange(shape[0])[:, None] + np.zeros(shape) < shape[0] / 2,
    }[kind]
    picture = decoded(brush_rle(inside)).reshape(*shape, 4)
    assert np.array_equal(picture, np.where(inside, 255, 0)[..., None].repeat(4, axis=2))


def test_a_task_has_a_brush_mask_of_each_class_but_the_background():
    labels = np.array([[0, 1, 1], [2, 0, 255]], np.uint8)
    found = task("/photos/a.jpg", Mask.of(labels, SPEC), model="cats", confidence=0.75)
    assert found["data"] == {"image": "/photos/a.jpg"}
    (prediction,) = found["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("cats", 0.75)
    for index, result in enumerate(prediction["result"], 1):
        assert result["value"]["brushlabels"] == [SPEC.classes[index]]
        size = result["original_height"], result["original_width"], 4
        alpha = decoded(result["value"]["rle"]).reshape(size)[..., 3]
        assert np.array_equal(alpha == 255, labels == index)


def test_the_labelling_interface_names_what_the_tasks_name():
    view = ElementTree.fromstring(labelling_config(SPEC.classes, SPEC.palette))
    image, brush = view.find("Image"), view.find("BrushLabels")
    labels = [(label.get("value"), label.get("background")) for label in brush]
    colors = [f"#{bytes(color).hex()}" for color in SPEC.palette[1:]]
    assert labels == list(zip(SPEC.classes[1:], colors, strict=True))
    one = np.ones((1, 1), np.uint8)
    (result,) = task("a", Mask.of(one, SPEC), model="m", confidence=1)["predictions"][0]["result"]
    assert result["from_name"] == brush.get("name")
    assert result["to_name"] == brush.get("toName") == image.get("name")
    assert image.get("value") == "$image"
