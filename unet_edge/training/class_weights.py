"""Class weights from how often each class occurs in the training masks."""

from __future__ import annotations

import numpy as np

from unet_edge.dataset import Dataset
from unet_edge.system.progress import progress


def balanced_weights(dataset: Dataset) -> tuple[float, ...]:
    """Median-frequency balancing (Eigen and Fergus 2015, arXiv:1411.4734, section 6.3.2).

    The weight of a class is the median frequency over its own, a frequency being the class'
    share of the pixels of the pictures it occurs in. A class in no training mask weighs 1.
    """
    pixels = np.zeros(dataset.classes)
    seen_in = np.zeros(dataset.classes)
    for sample in progress(dataset.train, "weighing classes"):
        _, labels = dataset.read(sample)
        counts = np.bincount(labels.ravel(), minlength=256)[: dataset.classes]
        pixels += counts
        seen_in += np.where(counts > 0, counts.sum(), 0)
    known = pixels > 0
    frequency = np.divide(pixels, seen_in, out=np.ones(dataset.classes), where=known)
    median = np.median(frequency[known]) if known.any() else 1.0
    return tuple(float(w) for w in np.where(known, median / frequency, 1.0))
