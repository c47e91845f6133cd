"""The samples of a run, and what stays beside them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from unet_edge.dataset import find_dataset
from unet_edge.demo.cells import CLASSES
from unet_edge.masks.mask import is_png_made_by
from unet_edge.spec import ModelSpec
from unet_edge.training.samples import save_samples

SPEC = ModelSpec(16, 16, CLASSES)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    pixels = keras.Input((16, 16, 3))
    return keras.Model(pixels, keras.layers.Conv2D(2, 1)(pixels))


def test_only_samples_of_an_earlier_run_are_removed(
    model: keras.Model, sample_data: Path, tmp_path: Path
) -> None:
    dataset = find_dataset(sample_data, classes=CLASSES)
    save_samples(model, dataset, SPEC, tmp_path)
    first = sorted(path.name for path in tmp_path.iterdir())
    assert len(first) == 5
    assert all(is_png_made_by(path.read_bytes(), "unet-edge train") for path in tmp_path.iterdir())

    (tmp_path / first[0]).rename(tmp_path / "of an earlier run.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / first[0])  # somebody's own
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    own = (tmp_path / first[0]).read_bytes()
    save_samples(model, dataset, SPEC, tmp_path)

    again = Path(first[0]).stem + "-2.png"
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([*first, again, "mine.png", "folder.png"])
    assert (tmp_path / first[0]).read_bytes() == own
