"""The contact sheet shows the masks, hatches what is ignored and names the classes."""

import numpy as np
import pytest
from PIL import Image

from unet_edge.dataset import find_dataset
from unet_edge.spec import ModelSpec
from unet_edge.training.preview import preview_sheet
from unet_edge.training.settings.augmentation import PLAIN, Augmentation

CLASSES = ("background", "cat")
GREY = 100


@pytest.fixture
def dataset(tmp_path):
    """Grey pictures of 32x32 px: the left half cat, the lowest quarter ignored."""
    labels = np.zeros((32, 32), np.uint8)
    labels[:, :16] = 1
    labels[24:] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        Image.new("RGB", (32, 32), (GREY,) * 3).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(labels).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "val.txt").write_text("d")
    return find_dataset(tmp_path, classes=CLASSES)


SPEC = ModelSpec(height=64, width=64, classes=CLASSES)


def sheet(dataset, **options):
    return np.asarray(
        preview_sheet(
            dataset, SPEC, **({"crop": (32, 32), "augmentation": Augmentation()} | options)
        )
    ).astype(int)


def rows(pixels):
    """Rows of pictures on a sheet: above the legend, which has one line of 26 px or more."""
    return (pixels.shape[0] - 22 - 26) // (64 + 8)


def test_the_first_column_is_the_complete_picture_on_the_grid(dataset):
    pixels = sheet(dataset, count=1, views=0)
    whole = pixels[22 : 22 + 64, 8 : 8 + 64]  # below the title, right of the gap
    blend = (np.array(SPEC.palette[1]) + GREY) / 2
    assert np.abs(whole[:48, :32] - blend).max() <= 1
    assert (whole[:48, 32:] == GREY).all()
    stripes = whole[48:]
    assert (stripes == stripes[..., :1]).all()
    assert set(np.unique(stripes)) == {140, 225}
    assert not (stripes == GREY).any()


def test_views_are_crops_of_the_size_asked_for(dataset):
    pixels = sheet(dataset, crop=(64, 64), count=2, views=3)
    first = sheet(dataset, crop=(64, 64), count=2, views=0)
    assert pixels.shape[1] == first.shape[1] + 3 * (64 + 8)
    assert rows(pixels) == 2


def test_the_same_seed_draws_the_same_sheet(dataset):
    first = sheet(dataset, seed=1)
    assert np.array_equal(first, sheet(dataset, seed=1))
    assert not np.array_equal(first, sheet(dataset, seed=2))


def test_views_are_augmented_as_asked(dataset):
    plain = sheet(dataset, augmentation=PLAIN, seed=3)
    assert not np.array_equal(plain, sheet(dataset, seed=3))


def test_no_more_rows_than_training_pictures(dataset):
    assert rows(sheet(dataset, count=9, views=3)) == 3


def test_the_legend_breaks_its_line_where_the_sheet_is_narrow(dataset):
    names = tuple(f"class number {k}" for k in range(12))
    spec = ModelSpec(height=64, width=64, classes=names)
    wide = preview_sheet(
        dataset, spec, crop=(64, 64), augmentation=Augmentation(), count=1, views=12
    )
    narrow = preview_sheet(
        dataset, spec, crop=(64, 64), augmentation=Augmentation(), count=1, views=1
    )
    assert narrow.height > wide.height
