"""MaskScores: how a model's masks agree with other masks, over all pixels and where it matters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_edge.evaluation.verification import ReferenceMask
from unet_edge.masks.boundary import boundary_band
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import IGNORE


@dataclass(frozen=True)
class MaskScores:
    """Masks of a model against Keras' or against true labels. All figures are 0..1.

    `agreement` is the share of equal pixels of all pictures together, `boundary` that of the pixels
    near a boundary between classes of the other mask (`boundary_band`), None without any. `miou`
    and `class_iou`, None for a class in neither mask, are of all pixels, too. `pictures` has the
    agreement of each picture by its name. Ignored pixels do not count; a picture that has only
    such is left out.
    """

    agreement: float
    boundary: float | None
    miou: float
    class_iou: tuple[float | None, ...]
    pictures: dict[str, float]

    @property
    def worst_picture(self) -> str:
        """The name of the first picture with the lowest agreement."""
        return min(self.pictures, key=lambda name: self.pictures[name])

    @property
    def worst(self) -> float:
        """The lowest agreement of a picture."""
        return min(self.pictures.values())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MaskScores:
        """Read the fields as plain JSON values."""
        return cls(**data | {"class_iou": tuple(data["class_iou"])})


def score_masks(segmenter: Segmenter, references: Iterable[ReferenceMask]) -> MaskScores | None:
    """Segment each picture and compare its mask with the reference's; None without any pixel.

    True labels are given as the references' `labels`, and may hold IGNORE.
    """
    classes = len(segmenter.spec.classes)
    total = Confusion.empty(classes)
    near = equal_near = 0
    pictures: dict[str, float] = {}
    for reference in references:
        labels = segmenter.segment(reference.picture).labels
        counts = Confusion.of(reference.labels, labels, classes)
        if not counts.pixels:
            continue
        total += counts
        pictures[reference.name] = counts.accuracy
        band = boundary_band(reference.labels) & (reference.labels != IGNORE)
        near += int(np.count_nonzero(band))
        equal_near += int(np.count_nonzero((labels == reference.labels) & band))
    if not pictures:
        return None
    return MaskScores(
        agreement=total.accuracy,
        boundary=equal_near / near if near else None,
        miou=total.miou,
        class_iou=tuple(None if math.isnan(iou) else iou for iou in total.iou),
        pictures=pictures,
    )
