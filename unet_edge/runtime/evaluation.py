"""Evaluation: a model's masks against the true labels of a data set, at the pictures' own size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from unet_edge.dataset import Dataset, Sample
from unet_edge.errors import DataError
from unet_edge.metrics import Confusion
from unet_edge.runtime.segmenter import Segmenter


@dataclass(frozen=True)
class Evaluation:
    """Dataset-level figures, and the mIoU (0..1) of each picture by name."""

    name: str
    classes: tuple[str, ...]
    confusion: Confusion
    pictures: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; shares are 0..1."""
        return {
            "model": self.name,
            "miou": self.confusion.miou,
            "accuracy": self.confusion.accuracy,
            "pixels": self.confusion.pixels,
            "iou": dict(zip(self.classes, self.confusion.iou, strict=True)),
            "dice": dict(zip(self.classes, self.confusion.dice, strict=True)),
            "confusion": self.confusion.counts.tolist(),
            "pictures": self.pictures,
        }


def evaluate(segmenter: Segmenter, dataset: Dataset, samples: Iterable[Sample]) -> Evaluation:
    """Segment every sample and count its pixels against the truth, ignored ones left out.

    Raises DataError for a sample that does not fit, or when there is none.
    """
    classes = len(segmenter.spec.classes)
    total = Confusion.empty(classes)
    pictures: dict[str, float] = {}
    for sample in samples:
        picture, truth = dataset.read(sample)
        confusion = Confusion.of(truth, segmenter.segment(picture).labels, classes)
        pictures[sample.name] = confusion.miou
        total += confusion
    if not pictures:
        raise DataError(f"there is no picture to evaluate {segmenter.name} on")
    return Evaluation(segmenter.name, segmenter.spec.classes, total, pictures)
