"""Sample predictions: photo, truth and prediction side by side, to be looked at."""

from __future__ import annotations

from pathlib import Path

import keras

from unet_edge.dataset import Dataset
from unet_edge.mask import Mask, save_png
from unet_edge.metrics import Confusion
from unet_edge.panels import panels
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec

_COUNT = 6


def save_samples(model: keras.Model, dataset: Dataset, spec: ModelSpec, folder: Path) -> None:
    """Write up to six validation pictures, spread over the set, as photo | truth | prediction.

    Masks are laid over the photo at its own size.
    """
    segmenter = Segmenter(spec, KerasBackend(model), spec.name)
    for old in folder.glob("*.png"):
        old.unlink()  # an earlier run's samples would pass for this one's
    step = max(1, len(dataset.validation) // _COUNT)
    for sample in dataset.validation[::step][:_COUNT]:
        picture, labels = dataset.read(sample, spec.bit_depth)
        mask = segmenter.segment(sample.image)
        miou = Confusion.of(labels, mask.labels, dataset.classes).miou
        truth = Mask.of(labels, spec)
        sheet = panels(
            [[picture, truth.overlay(picture, legend="none"), mask.overlay(picture)]],
            [sample.name, "true mask", f"prediction, mIoU {miou:.3f}"],
        )
        save_png(sheet, folder / f"{sample.name.replace('/', '-')}.png")
