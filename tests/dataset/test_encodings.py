"""One labelling, written in every way that is read, gives one array of labels."""

import json

import numpy as np
import pytest
from PIL import Image

from unet_edge.dataset import find_dataset
from unet_edge.errors import ConfigError, DataError
from unet_edge.spec import IGNORE, ModelSpec, Normalisation
from unet_edge.training.batches import TrainingBatches
from unet_edge.training.settings.augmentation import Augmentation

HEIGHT, WIDTH = 12, 16
CLASSES = ("background", "cat")
CAT = (2, 3, 9, 8)  # left, top, right, bottom
LABELS = np.zeros((HEIGHT, WIDTH), np.uint8)
LABELS[3:8, 2:9] = 1
RUNS = "k05700000000000a2"  # LABELS, by pycocotools 2.0
NAMES = ("a", "b", "c", "d", "e")


def corners(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def pictures(folder, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(NAMES):
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{suffix}")


def masks(root, picture):
    pictures(root / "images")
    (root / "masks").mkdir()
    for name in NAMES:
        picture.save(root / "masks" / f"{name}.png")


def palette(labels):
    picture = Image.frombytes("P", (WIDTH, HEIGHT), labels.tobytes())
    colors = [200, 10, 10, 0, 0, 0, 255, 255, 255]  # they mean nothing
    picture.putpalette(colors + [7] * (768 - len(colors)))
    return picture


def paint(labels, *colors):
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    table[IGNORE] = (224, 224, 192)
    return Image.fromarray(table[labels])


def coco(root, segmentation, path="annotations.json", **changes):
    """A COCO file in which every picture has one cat."""
    pictures(root / "images")
    numbered = list(enumerate(NAMES, 1))
    images = [
        {"id": i, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for i, n in numbered
    ]
    annotations = [
        {"id": i, "image_id": i, "category_id": 7, "segmentation": segmentation, "iscrowd": 0}
        for i, _ in numbered
    ]
    categories = [{"id": 0, "name": "animals"}, {"id": 7, "name": "cat"}]  # Roboflow adds the 0th
    data = {"images": images, "annotations": annotations, "categories": categories} | changes
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(json.dumps(data))
    return data


def labelme(root, *shapes):
    pictures(root)
    data = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": list(shapes)}
    for name in NAMES:
        (root / f"{name}.json").write_text(json.dumps(data))


def shape(kind, points, label="cat"):
    return {"label": label, "shape_type": kind, "points": points}


def run_lengths():
    """Column by column, counted by hand: two empty columns and three pixels come first."""
    return [2 * HEIGHT + 3, *[5, 7] * 6, 5, 4 + 7 * HEIGHT]


POINTS = np.reshape(corners(*CAT), (-1, 2)).tolist()
COLORED = paint(LABELS, (0, 0, 0), (200, 0, 40))
ENCODINGS = {
    "binary, light": (lambda r: masks(r, Image.fromarray(LABELS * 255)), "auto"),
    "binary, dark": (lambda r: masks(r, Image.fromarray(255 - LABELS * 255)), "binary<=127"),
    "binary, 1 bit": (lambda r: masks(r, Image.fromarray(LABELS * 255).convert("1")), "auto"),
    "binary, grey": (lambda r: masks(r, Image.fromarray(60 + LABELS * 80)), "binary>100"),
    "binary, RGB": (lambda r: masks(r, Image.fromarray(LABELS * 255).convert("RGB")), "auto"),
    "index": (lambda r: masks(r, Image.fromarray(LABELS)), "auto"),
    "index, 16 bits": (lambda r: masks(r, Image.fromarray(LABELS.astype(np.uint16))), "auto"),
    "palette": (lambda r: masks(r, palette(LABELS)), "auto"),
    "colours": (lambda r: masks(r, COLORED), "colors:#000000,#C80028"),
    "colours, RGBA": (lambda r: masks(r, COLORED.convert("RGBA")), "colors:#000000,#c80028"),
    "colours, palette": (lambda r: masks(r, palette(LABELS)), "colors:#c80a0a,#000000"),
    "COCO polygon": (lambda r: coco(r, [corners(*CAT)]), "auto"),
    "COCO runs": (lambda r: coco(r, {"size": [HEIGHT, WIDTH], "counts": run_lengths()}), "auto"),
    "COCO compressed": (lambda r: coco(r, {"size": [HEIGHT, WIDTH], "counts": RUNS}), "auto"),
    "labelme polygon": (lambda r: labelme(r, shape("polygon", POINTS)), "auto"),
    "labelme rectangle": (lambda r: labelme(r, shape("rectangle", [CAT[:2], CAT[2:]])), "auto"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_same_labels(tmp_path, encoding):
    write, rule = ENCODINGS[encoding]
    write(tmp_path)
    dataset = find_dataset(tmp_path, classes=CLASSES, masks=rule)
    assert len(dataset.train) + len(dataset.validation) == len(NAMES)
    for sample in (*dataset.train, *dataset.validation):
        _, labels = dataset.read(sample)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, LABELS)


@pytest.fixture(scope="module")
def first_batches(tmp_path_factory):
    """What training sees first, by encoding."""
    spec = ModelSpec(height=32, width=32, classes=CLASSES)
    batches = {}
    for name, (write, rule) in ENCODINGS.items():
        root = tmp_path_factory.mktemp("encoding")
        write(root)
        dataset = find_dataset(root, classes=CLASSES, masks=rule)
        drawn = TrainingBatches(
            dataset,
            spec,
            crop=(32, 32),
            batch_size=4,
            augmentation=Augmentation(),
            seed=3,
        )
        batches[name] = drawn[0]
    return batches


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_same_first_batch(first_batches, encoding):
    expected = first_batches["index"]
    assert set(np.unique(expected[1])) == {0, 1, IGNORE}
    for found, wanted in zip(first_batches[encoding], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_every_encoding_starts_training_with_the_same_loss(first_batches):
    import keras

    from unet_edge.training.losses import objective
    from unet_edge.training.models import build
    from unet_edge.training.settings.loss import Loss
    from unet_edge.training.settings.network import Network

    keras.utils.set_random_seed(1)
    model = build(Network(alpha=0.25), 2, Normalisation())
    cost = objective(Loss(cross_entropy=1, focal=1, dice=1))
    losses = {
        encoding: float(cost(labels, model(pixels, training=True)))
        for encoding, (pixels, labels) in first_batches.items()
    }
    # Bit for bit: the same arithmetic on the same numbers.
    assert set(losses.values()) == {losses["index"]}
    pixels, labels = first_batches["index"]
    inverted = np.where(labels == IGNORE, IGNORE, 1 - labels)
    assert float(cost(inverted, model(pixels, training=True))) != losses["index"]


# --- more classes, and pixels of none ---------------------------------------------------------

THREE = ("background", "cat", "dog")
MANY = LABELS.copy()
MANY[5:10, 6:14] = 2  # over the cat
MANY[0:2, 12:16] = IGNORE
DOG, NOBODY = (6, 5, 14, 10), (12, 0, 16, 2)


def coco_many(root):
    data = coco(root, [])
    data["categories"] = [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}]
    drawn = [(1, CAT, {}), (3, DOG, {}), (1, NOBODY, {"iscrowd": 1})]
    data["annotations"] = [
        {"id": i, "image_id": i, "category_id": c, "segmentation": [corners(*box)], **more}
        for i in range(1, 6)
        for c, box, more in drawn
    ]
    (root / "annotations.json").write_text(json.dumps(data))


def labelme_many(root):
    drawn = [("cat", CAT), ("dog", DOG), ("__ignore__", NOBODY)]
    labelme(root, *(shape("rectangle", [box[:2], box[2:]], name) for name, box in drawn))


TABLE = ((9, 9, 9), (255, 0, 0), (0, 255, 0))


def labelmap(root):
    masks(root, paint(MANY, *TABLE))
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\ndog:0,255,0::\ncat:255,0,0::\n"
        "background:9,9,9::\nhorse:1,2,3::\nvoid:224,224,192::\n"
    )


@pytest.mark.parametrize(
    ("write", "rule"),
    [
        (lambda r: masks(r, Image.fromarray(MANY)), "auto"),
        (lambda r: masks(r, palette(MANY)), "auto"),
        (
            lambda r: masks(r, paint(MANY, *TABLE)),
            "colors:#090909,#ff0000,#00ff00,ignore=#e0e0c0",
        ),
        (labelmap, "auto"),
        (coco_many, "auto"),
        (labelme_many, "auto"),
    ],
    ids=["index", "palette", "colours", "labelmap", "COCO", "labelme"],
)
def test_three_classes_and_ignored_pixels(tmp_path, write, rule):
    write(tmp_path)
    dataset = find_dataset(tmp_path, classes=THREE, masks=rule)
    np.testing.assert_array_equal(dataset.read(dataset.train[0])[1], MANY)


def test_a_labelmap_is_named_in_the_notes(tmp_path):
    labelmap(tmp_path)
    (note,) = [n for n in find_dataset(tmp_path, classes=THREE).notes if n.startswith("masks")]
    assert note == ("masks: colours of labelmap.txt (background #090909, cat #ff0000, dog #00ff00)")


# --- colours that are not understood ----------------------------------------------------------


def test_coloured_masks_without_a_table_show_their_colours(tmp_path):
    masks(tmp_path, COLORED)
    with pytest.raises(DataError) as raised:
        find_dataset(tmp_path, classes=CLASSES)
    assert "holds #000000 (157 px), #c80028 (35 px); pass e.g. --masks " in str(raised.value)
    assert (
        "'colors:#000000,#c80028', a colour for each class in the order background, cat (the first "
        "is background), or write a labelmap.txt"
    ) in str(raised.value)


def test_black_comes_first_in_the_suggested_colours_although_it_covers_less(tmp_path):
    masks(tmp_path, paint(1 - np.minimum(LABELS, 1), (0, 0, 0), (255, 0, 0)))
    with pytest.raises(DataError, match=r"holds #ff0000 .*--masks 'colors:#000000,#ff0000',"):
        find_dataset(tmp_path, classes=CLASSES)


def test_a_mask_with_fewer_colours_than_classes_suggests_to_add_some(tmp_path):
    masks(tmp_path, COLORED)
    with pytest.raises(DataError, match=r"'colors:#000000,#c80028,…', .* background, cat, dog \("):
        find_dataset(tmp_path, classes=THREE)


def test_an_unknown_colour_is_named_and_counted(tmp_path):
    masks(tmp_path, COLORED)
    dataset = find_dataset(tmp_path, classes=CLASSES, masks="colors:#000000,#00ff00")
    with pytest.raises(DataError, match=r"holds #c80028 \(35 px\), which no class has.*ignore=#c8"):
        dataset.read(dataset.train[0])


def test_a_table_must_fit_the_classes(tmp_path):
    masks(tmp_path, COLORED)
    with pytest.raises(ConfigError, match=r"2 colours for 3 classes \(background, cat, dog\)"):
        find_dataset(tmp_path, classes=THREE, masks="colors:#000000,#ff0000")


def test_a_labelmap_must_name_the_classes(tmp_path):
    labelmap(tmp_path)
    with pytest.raises(
        DataError, match="no colour for kitten, only for dog, cat, background, horse, void; name"
    ):
        find_dataset(tmp_path, classes=("background", "kitten"))


@pytest.mark.parametrize("line", ["cat", "cat:1,2", "cat:1,2,300::", "cat:#ff0000"])
def test_a_malformed_labelmap(tmp_path, line):
    labelmap(tmp_path)
    (tmp_path / "labelmap.txt").write_text(f"background:0,0,0::\n{line}\n")
    with pytest.raises(DataError, match=r"txt: line 2 is .*; expected name:red,green,blue::"):
        find_dataset(tmp_path, classes=THREE)
