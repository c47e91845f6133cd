"""Dataset-level metrics from one confusion matrix, and agreement between two masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConfigError
from unet_edge.imaging import Labels
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class Confusion:
    """Pixel counts, int64, shape (classes, classes): row = truth, column = prediction.

    Figures are of the whole dataset: averages over pictures or batches of a ratio depend on how
    the pixels were grouped (the tutorial's F-score did).
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Confusion:
        """No pixels yet."""
        return cls(np.zeros((classes, classes), np.int64))

    @classmethod
    def of(cls, truth: Labels, prediction: Labels, classes: int) -> Confusion:
        """Count one pair of masks of equal shape; truth equal to IGNORE is left out."""
        if truth.shape != prediction.shape:
            raise ConfigError(f"masks of {truth.shape} and {prediction.shape} cannot be compared")
        valid = truth != IGNORE
        for name, mask in (("truth", truth[valid]), ("prediction", prediction[valid])):
            if mask.size and mask.max() >= classes:
                raise ConfigError(f"the {name} holds label {mask.max()} of {classes} classes")
        pairs = truth[valid].astype(np.int64) * classes + prediction[valid]
        counts = np.bincount(pairs, minlength=classes * classes)
        return cls(counts.reshape(classes, classes).astype(np.int64))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    @property
    def pixels(self) -> int:
        """How many pixels were counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of pixels on the diagonal, 0..1; nan without pixels."""
        return _ratio(float(np.trace(self.counts)), float(self.counts.sum()))

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union of each class, 0..1; nan for a class in neither mask."""
        hit = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return tuple(_ratio(float(a), float(b)) for a, b in zip(hit, union, strict=True))

    @property
    def dice(self) -> tuple[float, ...]:
        """Dice coefficient (F1 score) of each class, 0..1; nan for a class in neither mask."""
        hit = np.diag(self.counts)
        total = self.counts.sum(0) + self.counts.sum(1)
        return tuple(_ratio(2 * float(a), float(b)) for a, b in zip(hit, total, strict=True))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction, 0..1."""
        present = [value for value in self.iou if not np.isnan(value)]
        return float(np.mean(present)) if present else float("nan")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
