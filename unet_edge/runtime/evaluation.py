"""Evaluation: a model's masks against the true labels of a data set, at the pictures' own size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from unet_edge.boundary import Boundary
from unet_edge.dataset import Dataset, Sample
from unet_edge.errors import DataError
from unet_edge.metrics import Confusion, class_mean
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class PictureScore:
    """One picture's figures, 0..1; nan where a class, or the whole truth, is not there.

    `pixels` counts those that are not ignored; `boundary_f` is the mean over the classes.
    """

    name: str
    miou: float
    accuracy: float
    boundary_f: float
    pixels: int
    iou: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """A model's figures over all pixels of all pictures, and those of each picture.

    `ignored` counts the pixels of the true masks that are left out.
    """

    name: str
    backend: str
    classes: tuple[str, ...]
    confusion: Confusion
    boundary: Boundary
    pictures: tuple[PictureScore, ...]
    ignored: int = 0

    @property
    def ignored_share(self) -> float:
        """The share of ignored pixels, 0..1, among all."""
        return self.ignored / max(1, self.ignored + self.confusion.pixels)

    @property
    def figures(self) -> dict[str, tuple[float, ...]]:
        """Each figure, 0..1 for every class; nan for a class that occurs nowhere."""
        confusion = self.confusion
        return {
            "iou": confusion.iou,
            "dice": confusion.dice,
            "precision": confusion.precision,
            "recall": confusion.recall,
            "boundary_f": self.boundary.f_score,
        }

    @property
    def means(self) -> dict[str, float]:
        """The mean of each figure over the classes that have one."""
        return {figure: class_mean(values) for figure, values in self.figures.items()}

    @property
    def worst_first(self) -> tuple[PictureScore, ...]:
        """The pictures by mIoU, lowest first; those without any come last."""
        return tuple(
            sorted(self.pictures, key=lambda p: math.inf if math.isnan(p.miou) else p.miou)
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Signs that the data set does not count its classes as the model does, a line each."""
        counts = self.confusion.counts
        true = counts.sum(1)
        found = [
            f"no pixel of any true mask is of class {index}, {name}: has the data set that class?"
            for index, name in enumerate(self.classes)
            if not true[index]
        ]
        for low in range(len(self.classes)):
            for high in range(low + 1, len(self.classes)):
                if 2 * counts[low, high] > true[low] and 2 * counts[high, low] > true[high]:
                    found.append(
                        f"most of {self.classes[low]} is predicted as {self.classes[high]} and "
                        "the other way round: do the masks count the classes as the model does, "
                        f"{low} {self.classes[low]}, {high} {self.classes[high]}? See --masks"
                    )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; shares are 0..1, pictures worst first."""
        by_class = {
            figure: dict(zip(self.classes, values, strict=True))
            for figure, values in self.figures.items()
        }
        return {
            "model": self.name,
            "backend": self.backend,
            "miou": self.confusion.miou,
            "accuracy": self.confusion.accuracy,
            "pixels": self.confusion.pixels,
            "ignored_pixels": self.ignored,
            "mean": self.means,
            **by_class,
            "confusion": self.confusion.counts.tolist(),
            "pictures": [
                {
                    "name": picture.name,
                    "miou": picture.miou,
                    "accuracy": picture.accuracy,
                    "boundary_f": picture.boundary_f,
                    "pixels": picture.pixels,
                    "iou": dict(zip(self.classes, picture.iou, strict=True)),
                }
                for picture in self.worst_first
            ],
        }


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    samples: Iterable[Sample],
    *,
    tolerance: float | None = None,
) -> Evaluation:
    """Segment every sample and score its pixels against the truth, ignored ones left out.

    `tolerance` is the boundary F-score's, px; see `Boundary.of`.
    Raises DataError for a sample that does not fit, or when there is none.
    """
    classes = len(segmenter.spec.classes)
    confusion, boundary = Confusion.empty(classes), Boundary.empty(classes)
    pictures: list[PictureScore] = []
    ignored = 0
    for sample in samples:
        photo, truth = dataset.read_for(sample, segmenter.spec)
        labels = segmenter.segment(photo).labels
        pixels = Confusion.of(truth, labels, classes)
        contours = Boundary.of(truth, labels, classes, tolerance)
        confusion += pixels
        ignored += int((truth == IGNORE).sum())
        boundary += contours
        pictures.append(
            PictureScore(
                name=sample.name,
                miou=pixels.miou,
                accuracy=pixels.accuracy,
                boundary_f=class_mean(contours.f_score),
                pixels=pixels.pixels,
                iou=pixels.iou,
            )
        )
    if not pictures:
        raise DataError(f"there is no picture to evaluate {segmenter.name} on")
    if not confusion.pixels:
        raise DataError("every pixel of every true mask is ignored: nothing can be evaluated")
    return Evaluation(
        name=segmenter.name,
        backend=segmenter.backend.name,
        classes=segmenter.spec.classes,
        confusion=confusion,
        boundary=boundary,
        pictures=tuple(pictures),
        ignored=ignored,
    )
