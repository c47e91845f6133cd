"""Dataset-level metrics from one confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConfigError
from unet_edge.images.placement import Labels
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class Confusion:
    """Pixel counts, int64, shape (classes, classes): row = truth, column = prediction.

    Figures are of all pixels together, since an average of ratios over pictures or batches depends
    on how the pixels are grouped. Those of a class are 0..1, and nan for a class in neither mask,
    so that all means are over the same classes.
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Confusion:
        """No pixels yet."""
        return cls(np.zeros((classes, classes), np.int64))

    @classmethod
    def of(cls, truth: Labels, prediction: Labels, classes: int) -> Confusion:
        """Count one pair of masks, uint8 (H, W) of equal shape; IGNORE in `truth` is left out.

        Raises ConfigError for masks of different shapes, and for labels beyond `classes`.
        """
        require_equal_shapes(truth, prediction)
        valid = truth != IGNORE
        for name, mask in (("truth", truth[valid]), ("prediction", prediction[valid])):
            if mask.size and mask.max() >= classes:
                raise ConfigError(
                    f"the {name} holds label {mask.max()}",
                    expected=f"labels of {classes} classes must be below {classes}",
                )
        # bincount takes indices of arrays, which have 32 bits on a 32-bit Raspberry Pi OS.
        pairs = truth[valid].astype(np.intp) * classes + prediction[valid]
        counts = np.bincount(pairs, minlength=classes * classes)
        return cls(counts.reshape(classes, classes).astype(np.int64))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    @property
    def pixels(self) -> int:
        """The number of counted pixels."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of pixels on the diagonal, 0..1; nan without pixels."""
        return _ratio(float(np.trace(self.counts)), float(self.counts.sum()))

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union of each class."""
        hit = np.diag(self.counts)
        return ratios(hit, self._predicted + self._true - hit)

    @property
    def dice(self) -> tuple[float, ...]:
        """Dice coefficient (F1 score) of each class: harmonic mean of precision and recall."""
        return ratios(2 * np.diag(self.counts), self._predicted + self._true)

    @property
    def precision(self) -> tuple[float, ...]:
        """Share of the pixels predicted as a class that are of it; 0 where none was predicted."""
        return self._zero_where_present(ratios(np.diag(self.counts), self._predicted))

    @property
    def recall(self) -> tuple[float, ...]:
        """Share of a class's pixels that were predicted as it; 0 where the truth has none."""
        return self._zero_where_present(ratios(np.diag(self.counts), self._true))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction, 0..1."""
        return class_mean(self.iou)

    @property
    def _true(self) -> NDArray[np.int64]:
        return np.asarray(self.counts.sum(1))

    @property
    def _predicted(self) -> NDArray[np.int64]:
        return np.asarray(self.counts.sum(0))

    def _zero_where_present(self, values: Sequence[float]) -> tuple[float, ...]:
        # Like IoU and Dice, which are 0 for a class that was never predicted.
        present = (self._true + self._predicted) > 0
        return tuple(
            0.0 if there and math.isnan(value) else value
            for value, there in zip(values, present, strict=True)
        )


def class_mean(values: Iterable[float]) -> float:
    """Mean over the classes that have a figure; nan if none has."""
    present = [value for value in values if not math.isnan(value)]
    return float(np.mean(present)) if present else math.nan


def ratios(parts: NDArray[np.int64], totals: NDArray[np.int64]) -> tuple[float, ...]:
    """Each part divided by its total; nan where the total is 0."""
    return tuple(_ratio(float(a), float(b)) for a, b in zip(parts, totals, strict=True))


def require_equal_shapes(truth: Labels, prediction: Labels) -> None:
    """Raise ConfigError when two masks differ in shape."""
    if truth.shape != prediction.shape:
        raise ConfigError(
            f"masks of {truth.shape} and {prediction.shape} cannot be compared",
            expected="they must have the same shape",
        )


def _ratio(part: float, total: float) -> float:
    return part / total if total else math.nan
