"""Class weights from how often each class occurs in the training masks."""

from __future__ import annotations

import numpy as np

from unet_edge.dataset import Dataset
from unet_edge.system.progress import progress


def balanced_weights(dataset: Dataset) -> tuple[float, ...]:
    """Weigh classes by median frequency (Eigen and Fergus 2015, arXiv:1411.4734, section 6.3.2).

    A class's frequency is its share of the pixels of the pictures that contain it. Its weight is
    the median frequency divided by its own, or 1 if no training mask contains it.
    """
    pixels = np.zeros(dataset.classes)
    picture_pixels = np.zeros(dataset.classes)  # of the pictures that contain the class
    for sample in progress(dataset.train, "weighing classes"):
        _, labels = dataset.read(sample)
        counts = np.bincount(labels.ravel(), minlength=256)[: dataset.classes]
        pixels += counts
        picture_pixels += np.where(counts > 0, counts.sum(), 0)
    present = pixels > 0
    frequency = np.divide(pixels, picture_pixels, out=np.ones(dataset.classes), where=present)
    median = np.median(frequency[present]) if present.any() else 1.0
    return tuple(float(w) for w in np.where(present, median / frequency, 1.0))
