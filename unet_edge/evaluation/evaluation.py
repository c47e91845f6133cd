"""Evaluation: masks compared with the true labels of a data set, at the pictures' own size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from unet_edge.dataset import Dataset, Sample
from unet_edge.errors import DataError
from unet_edge.images.decoding import Photo
from unet_edge.images.placement import Labels
from unet_edge.masks.agreement import Agreement
from unet_edge.masks.boundary import Boundary
from unet_edge.masks.metrics import Confusion, class_mean
from unet_edge.masks.region_matching import RegionMatches
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class PictureScore:
    """The figures of one picture, 0..1; nan where a class, or every true label, is missing.

    `pixels` counts the pixels that are not ignored. `boundary_f` is the mean over the classes.
    """

    name: str
    miou: float
    accuracy: float
    boundary_f: float
    pixels: int
    iou: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """A model's figures over all pixels of all pictures, and for each picture.

    `ignored` counts the ignored pixels of the true masks. `regions` counts connected regions that
    were found, missed or falsely predicted.
    """

    name: str
    backend: str
    classes: tuple[str, ...]
    confusion: Confusion
    boundary: Boundary
    regions: RegionMatches
    pictures: tuple[PictureScore, ...]
    ignored: int = 0

    @property
    def ignored_share(self) -> float:
        """The share of ignored pixels among all pixels, 0..1."""
        return self.ignored / max(1, self.ignored + self.confusion.pixels)

    @property
    def figures(self) -> dict[str, tuple[float, ...]]:
        """Each figure for every class, 0..1; nan for a class that does not occur."""
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
        """The mean of each figure over the classes whose figure is not nan."""
        return {figure: class_mean(values) for figure, values in self.figures.items()}

    @property
    def worst_first(self) -> tuple[PictureScore, ...]:
        """The pictures by mIoU, lowest first; pictures without one come last."""
        return tuple(
            sorted(self.pictures, key=lambda p: math.inf if math.isnan(p.miou) else p.miou)
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Signs that the data set numbers its classes differently from the model, a line each."""
        counts = self.confusion.counts
        true = counts.sum(1)
        doubts = [
            f"no pixel of any true mask is of class {index}, {name}: has the data set that class?"
            for index, name in enumerate(self.classes)
            if not true[index]
        ]
        for low in range(len(self.classes)):
            for high in range(low + 1, len(self.classes)):
                if 2 * counts[low, high] > true[low] and 2 * counts[high, low] > true[high]:
                    doubts.append(
                        f"most of {self.classes[low]} is predicted as {self.classes[high]} and "
                        "the other way round: do the masks number the classes as the model does, "
                        f"{low} {self.classes[low]}, {high} {self.classes[high]}? See --masks"
                    )
        return tuple(doubts)

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
            "regions": self.regions.to_dict(self.classes),
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


class Tally:
    """Scores one model's masks picture by picture, for an Evaluation."""

    def __init__(self, segmenter: Segmenter, tolerance: float | None = None) -> None:
        """`tolerance` is for the boundary F-score, in px; see `Boundary.of`."""
        self._segmenter = segmenter
        self._tolerance = tolerance
        self._classes = len(segmenter.spec.classes)
        self._confusion = Confusion.empty(self._classes)
        self._boundary = Boundary.empty(self._classes)
        self._regions = RegionMatches.empty(self._classes)
        self._pictures: list[PictureScore] = []
        self._ignored = 0

    def add(self, name: str, photo: Photo, truth: Labels) -> Labels:
        """Segment a photo, score it against its true labels, and return the mask's labels."""
        labels = self._segmenter.segment(photo).labels
        pixels = Confusion.of(truth, labels, self._classes)
        contours = Boundary.of(truth, labels, self._classes, self._tolerance)
        self._confusion += pixels
        self._boundary += contours
        self._regions += RegionMatches.of(truth, labels, self._classes)
        self._ignored += int((truth == IGNORE).sum())
        self._pictures.append(
            PictureScore(
                name=name,
                miou=pixels.miou,
                accuracy=pixels.accuracy,
                boundary_f=class_mean(contours.f_score),
                pixels=pixels.pixels,
                iou=pixels.iou,
            )
        )
        return labels

    def result(self) -> Evaluation:
        """All figures. Raises DataError when no picture, or only ignored pixels, were added."""
        if not self._pictures:
            raise DataError(f"there is no picture to evaluate {self._segmenter.name} on")
        if not self._confusion.pixels:
            raise DataError("every pixel of every true mask is ignored: nothing can be evaluated")
        return Evaluation(
            name=self._segmenter.name,
            backend=self._segmenter.backend.name,
            classes=self._segmenter.spec.classes,
            confusion=self._confusion,
            boundary=self._boundary,
            regions=self._regions,
            pictures=tuple(self._pictures),
            ignored=self._ignored,
        )


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    samples: Iterable[Sample],
    *,
    tolerance: float | None = None,
) -> Evaluation:
    """Segment every sample and score its pixels against the true labels, without ignored ones.

    `tolerance` is for the boundary F-score, in px; see `Boundary.of`.
    Raises DataError when a sample does not fit the model or there is none.
    """
    tally = Tally(segmenter, tolerance)
    for sample in samples:
        photo, truth = dataset.read_for(sample, segmenter.spec)
        tally.add(sample.name, photo, truth)
    return tally.result()


@dataclass(frozen=True)
class FileEvaluation:
    """A bundle's file on a data set: its figures, and its agreement with the reference.

    `agreement` is the share of pixels whose label equals the reference's, ignored ones included,
    0..1. `worst` is the lowest agreement of a picture, that of `worst_picture`. `drop` is the lost
    mIoU, in points.
    """

    evaluation: Evaluation
    agreement: float
    worst: float
    worst_picture: str
    drop: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "agreement": self.agreement,
            "worst": self.worst,
            "worst_picture": self.worst_picture,
            "drop": self.drop,
            **self.evaluation.to_dict(),
        }


def evaluate_files(
    reference: Segmenter,
    files: Sequence[Segmenter],
    dataset: Dataset,
    samples: Iterable[Sample],
    *,
    tolerance: float | None = None,
) -> tuple[Evaluation, list[FileEvaluation]]:
    """Score a reference and several files of its model; each picture is read only once.

    Raises DataError as `evaluate` does.
    """
    reference_tally = Tally(reference, tolerance)
    tallies = [Tally(file, tolerance) for file in files]
    agreements = [Agreement() for _ in files]
    for sample in samples:
        photo, truth = dataset.read_for(sample, reference.spec)
        expected = reference_tally.add(sample.name, photo, truth)
        for tally, agreement in zip(tallies, agreements, strict=True):
            agreement.add(sample.name, tally.add(sample.name, photo, truth), expected)
    result = reference_tally.result()
    evaluations = []
    for tally, agreement in zip(tallies, agreements, strict=True):
        evaluation = tally.result()
        evaluations.append(
            FileEvaluation(
                evaluation=evaluation,
                agreement=agreement.share,
                worst=agreement.worst,
                worst_picture=agreement.worst_picture,
                drop=100 * (result.confusion.miou - evaluation.confusion.miou),
            )
        )
    return result, evaluations
