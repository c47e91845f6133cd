"""Batches, and the promise that every path feeds a model the same bytes."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from unet_edge.dataset import Dataset, MaskRule, Sample
from unet_edge.images.decoding import decode
from unet_edge.images.placement import Placement
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.batches import TrainingBatches, grid_batches, place_sample
from unet_edge.training.settings.augmentation import Augmentation

CLASSES = ("background", "cell")


def pattern(width, height):
    y, x = np.mgrid[:height, :width].astype(np.int64)
    channels = (7 * x + 3 * y, x * y // 5 + 11 * x, (x * x + 9 * y) // 4)
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)


def save_photo(path, mode, size, orientation=1):
    """A photo as a camera, a scanner or a microscope would write it."""
    pixels = pattern(*size)
    tags = Image.Exif()
    tags[0x0112] = orientation
    match mode:
        case "I;16":
            picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        case "P":
            picture = Image.fromarray(pixels).quantize(64)
        case "RGBA" | "CMYK":
            stored = np.dstack([pixels, pixels[..., :1]])
            picture = Image.frombytes(mode, size, stored.tobytes())
        case _:
            picture = Image.fromarray(pixels).convert(mode)
    picture.save(path, exif=tags)


PHOTOS = [
    ("RGB", (64, 48), "png", 1),
    ("RGB", (301, 199), "jpg", 1),
    ("RGB", (640, 480), "jpg", 6),
    ("RGB", (120, 500), "png", 1),  # tall: both passes of the filter matter, and their order
    ("RGB", (3, 2), "png", 8),
    ("L", (100, 130), "png", 1),
    ("LA", (100, 130), "png", 1),
    ("1", (57, 33), "png", 1),
    ("P", (90, 80), "png", 1),
    ("RGBA", (90, 80), "png", 3),
    ("CMYK", (90, 80), "jpg", 1),
    ("I;16", (90, 80), "png", 1),
    ("I;16", (90, 80), "tif", 1),
    ("RGB", (800, 608), "jpg", 1),
    ("L", (640, 800), "jpg", 6),
    ("RGB", (400, 300), "jpg", 1),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A data set of photos of all modes, each with a mask of its upright size."""
    root = tmp_path_factory.mktemp("photos")
    samples = []
    for number, (mode, size, suffix, orientation) in enumerate(PHOTOS):
        image, mask = root / f"{number}.{suffix}", root / f"{number}.mask.png"
        save_photo(image, mode, size, orientation)
        width, height = decode(image).size
        Image.fromarray((np.indices((height, width)).sum(axis=0) % 2).astype(np.uint8)).save(mask)
        samples.append(Sample(str(number), image, mask))
    return Dataset(root, tuple(samples), tuple(samples), MaskRule(), CLASSES)


SPECS = [
    ModelSpec(64, 96, CLASSES),
    ModelSpec(96, 64, CLASSES, resample="bicubic", pad_color=(1, 2, 3)),
    ModelSpec(80, 80, CLASSES, fit="stretch", resample="box"),
    ModelSpec(48, 64, CLASSES, decoding="scaled"),
]

# What the decoder divides these of PHOTOS by for the last of SPECS. By hand: 640x480 stands
# upright on 36x48 px, 800x608 on 63x48, 800x640 on 60x48, and an eighth of each is 1.58 to 1.67
# times that; a quarter of 400x300 is 1.56 times 64x48. The others are no JPEG, odd or too small.
DIVIDED = {2: 8, 13: 8, 14: 8, 15: 4}


def on_the_grid(number, path, spec):
    """The grid, made with Pillow's own draft and transposition."""
    whole = decode(path)
    factor = DIVIDED.get(number, 1) if spec.decoding == "scaled" else 1
    if factor == 1:
        return Placement.plan(whole.size, spec).place(whole)
    with Image.open(path) as stored:
        stored.draft(None, (stored.width // factor, stored.height // factor))
        reduced = ImageOps.exif_transpose(stored).convert("RGB")
    assert reduced.size == (whole.width // factor, whole.height // factor)
    return Placement.plan(whole.size, spec).place(reduced)


class Recorder:
    """A backend that keeps what it was fed."""

    name = "recorder"

    def __init__(self):
        self.fed = []

    def scores(self, pixels):
        self.fed.append(pixels.copy())
        return np.zeros((*pixels.shape[:2], len(CLASSES)), np.float32)


def fed_to_backend(dataset, spec):
    """What a Segmenter feeds its backend on the device, from files."""
    recorder = Recorder()
    segmenter = Segmenter(spec, recorder, "model")
    for sample in dataset.train:
        mask = segmenter.segment(sample.image)
        assert mask.labels.shape == decode(sample.image).size[::-1]
    return recorder.fed


def fed_in_training(dataset, spec):
    batches = TrainingBatches(
        dataset, spec, crop=spec.size, batch_size=1, augmentation=None, seed=0
    )
    order = np.random.default_rng((0, 0)).permutation(len(dataset.train))
    found = {int(place): batches[step][0][0] for step, place in enumerate(order)}
    return [found[place] for place in range(len(dataset.train))]


def fed_in_validation(dataset, spec):
    return [grid for pixels, _ in grid_batches(dataset, dataset.train, spec, 4) for grid in pixels]


def fed_in_calibration(dataset, spec):
    calibration = pytest.importorskip("converters.int8.calibration")
    grids = calibration.calibration_grids(dataset, spec, count=len(dataset.train), seed=3)
    order = np.random.default_rng(3).permutation(len(dataset.train))
    return [grids[place] for place in np.argsort(order)]


@pytest.mark.parametrize(
    "spec", SPECS, ids=lambda s: f"{s.height}x{s.width} {s.fit} {s.resample} {s.decoding}"
)
@pytest.mark.parametrize(
    "path", [fed_in_training, fed_in_validation, fed_in_calibration, fed_to_backend]
)
def test_every_path_feeds_the_model_the_same_bytes(photos, spec, path):
    grids = path(photos, spec)
    assert len(grids) == len(PHOTOS)
    for number, (photo, sample, found) in enumerate(zip(PHOTOS, photos.train, grids, strict=True)):
        expected = on_the_grid(number, sample.image, spec)
        assert (found.dtype, found.shape) == (np.uint8, (*spec.size, 3)), photo
        assert found.tobytes() == expected.tobytes(), photo


def test_every_path_turns_the_photo_upright(tmp_path):
    spec = ModelSpec(32, 32, CLASSES, pad_color=(9, 9, 9))
    image, mask = tmp_path / "a.png", tmp_path / "a.mask.png"
    save_photo(image, "RGB", (60, 20), orientation=6)
    picture = decode(image)
    assert picture.size == (20, 60)
    Image.new("L", picture.size).save(mask)
    dataset = Dataset(tmp_path, (Sample("a", image, mask),), (), MaskRule(), CLASSES)

    expected = Placement.plan(picture.size, spec).place(picture)
    (on_the_device,) = fed_to_backend(dataset, spec)
    assert np.array_equal(on_the_device, expected)
    (in_calibration,) = fed_in_calibration(dataset, spec)
    assert np.array_equal(in_calibration, expected)
    in_training, labels = place_sample(dataset, dataset.train[0], spec)
    assert np.array_equal(in_training, expected)
    assert (labels == 0).sum() == (expected != 9).any(axis=-1).sum()


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[-1]], ids=["full", "scaled"])
def test_labels_travel_with_their_grid(photos, spec):
    placed = [labels for _, both in grid_batches(photos, photos.train, spec, 5) for labels in both]
    for sample, labels in zip(photos.train, placed, strict=True):
        picture, mask = photos.read(sample)
        expected = Placement.plan(picture.size, spec).place_labels(mask)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, expected)


def test_the_last_batch_of_a_pass_is_shorter(photos):
    sizes = [len(pixels) for pixels, _ in grid_batches(photos, photos.train, SPECS[0], 5)]
    assert sizes == [5, 5, 5, 1]


# --- training batches -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    """Five pictures that are told apart by their grey: 10, 20 … 50."""
    root = tmp_path_factory.mktemp("shades")
    samples = []
    for number in range(1, 6):
        image, mask = root / f"{number}.png", root / f"{number}.mask.png"
        Image.new("RGB", (8, 8), (10 * number,) * 3).save(image)
        Image.new("L", (8, 8), 1).save(mask)
        samples.append(Sample(str(number), image, mask))
    return Dataset(root, tuple(samples), (), MaskRule(), CLASSES)


def batches_of(dataset, **changes):
    options = {"crop": (8, 8), "batch_size": 2, "augmentation": None, "seed": 1}
    return TrainingBatches(dataset, ModelSpec(8, 8, CLASSES), **{**options, **changes})


def shown(batch):
    return (batch[0][:, 0, 0, 0] // 10).tolist()


def test_a_batch_has_the_size_that_was_asked_for(shades):
    pixels, labels = batches_of(shades)[4]
    assert (pixels.shape, pixels.dtype) == ((2, 8, 8, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((2, 8, 8), np.uint8)


def test_each_picture_comes_once_a_pass_in_a_new_order(shades):
    batches = batches_of(shades)
    drawn = [number for step in range(20) for number in shown(batches[step])]
    passes = [tuple(drawn[start : start + 5]) for start in range(0, 40, 5)]
    assert all(sorted(one) == [1, 2, 3, 4, 5] for one in passes)
    assert len(set(passes)) > 4


def test_a_batch_depends_on_seed_and_index_alone(shades):
    augmentation = Augmentation()
    ahead, backwards = (batches_of(shades, augmentation=augmentation) for _ in range(2))
    first = [ahead[step] for step in range(5)]
    second = [backwards[step] for step in reversed(range(5))][::-1]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
    assert not np.array_equal(ahead[5][0], first[0][0])
    reseeded = batches_of(shades, augmentation=augmentation, seed=2)
    assert not np.array_equal(reseeded[0][0], first[0][0])


def test_the_same_picture_is_augmented_differently_each_time(shades):
    jitter = Augmentation(scale=(0.5, 1))
    batches = batches_of(shades, batch_size=5, augmentation=jitter)
    views = {}
    for step in range(8):
        for pixels, labels in zip(*batches[step], strict=True):
            views.setdefault(int((labels != IGNORE).sum()), []).append(pixels)
    assert len(views) > 8


def test_augmented_batches_have_the_crops_size(shades):
    pixels, labels = batches_of(shades, crop=(6, 4), augmentation=Augmentation())[0]
    assert pixels.shape == (2, 6, 4, 3)
    assert labels.shape == (2, 6, 4)


def test_a_stream_is_the_batches_in_order_whatever_the_workers(shades):
    batches = batches_of(shades, augmentation=Augmentation())
    for workers in (1, 4):
        drawn = list(batches.stream(3, 17, workers))
        assert len(drawn) == 14
        for index, (pixels, labels) in enumerate(drawn, 3):
            assert np.array_equal(pixels, batches[index][0])
            assert np.array_equal(labels, batches[index][1])


def test_the_parts_of_a_batch_join_to_it(shades):
    whole = batches_of(shades, batch_size=4, augmentation=Augmentation())[2]
    parts = [
        batches_of(shades, batch_size=4, augmentation=Augmentation(), part=part)[2]
        for part in (slice(0, 2), slice(2, 4))
    ]
    for position in (0, 1):
        assert np.array_equal(np.concatenate([part[position] for part in parts]), whole[position])


def test_pictures_are_read_once_while_there_is_room(shades, monkeypatch):
    reads = []
    read = Dataset.read_for
    monkeypatch.setattr(
        Dataset, "read_for", lambda self, s, spec: reads.append(s.name) or read(self, s, spec)
    )
    batches = batches_of(shades, augmentation=Augmentation())
    for index in range(10):
        batches[index]
    assert sorted(reads) == sorted(sample.name for sample in shades.train)
    # Room for two grey pictures and masks of 8x8 px: 64 + 64 bytes each.
    monkeypatch.setattr("unet_edge.training.batches._CACHE_BYTES", 2 * 128)
    reads.clear()
    batches = batches_of(shades, augmentation=Augmentation())
    for index in range(10):
        batches[index]
    assert len(reads) == 2 + 4 * 3
