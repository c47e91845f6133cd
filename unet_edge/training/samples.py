"""Sample predictions: photo, true mask and prediction side by side."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from unet_edge.dataset import Dataset
from unet_edge.drawing.image_grid import image_grid
from unet_edge.masks.mask import Mask, is_png_made_by, save_png
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec

_COUNT = 6
_MADE_BY = "unet-edge train"


def save_samples(model: keras.Model, dataset: Dataset, spec: ModelSpec, folder: Path) -> None:
    """Write up to six validation pictures, spread over the set, as photo | truth | prediction.

    Masks are drawn over the photo at its own size. Samples of an earlier run are removed; other
    files remain.
    """
    segmenter = Segmenter(spec, KerasBackend(model), spec.name)
    for old in folder.glob("*.png"):
        if _is_sample(old):
            old.unlink()  # it would look like a sample of this run
    step = max(1, len(dataset.validation) // _COUNT)
    for sample in dataset.validation[::step][:_COUNT]:
        picture, labels = dataset.read(sample, spec.bit_depth)
        mask = segmenter.segment(sample.image)
        miou = Confusion.of(labels, mask.labels, dataset.classes).miou
        truth = Mask.of(labels, spec)
        sheet = image_grid(
            [[picture, truth.overlay(picture, legend="none"), mask.overlay(picture)]],
            [sample.name, "true mask", f"prediction, mIoU {miou:.3f}"],
        )
        save_png(sheet, _free_path(folder, sample.name.replace("/", "-")), made_by=_MADE_BY)


def _is_sample(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return is_png_made_by(file.read(1000), _MADE_BY)


def _free_path(folder: Path, name: str) -> Path:
    """A path in the folder at which nothing exists."""
    path, number = folder / f"{name}.png", 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{name}-{number}.png"
    return path
