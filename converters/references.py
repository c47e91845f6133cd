"""The Keras reference on held-out pictures: its masks, and how hard each picture is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from unet_edge.dataset import Dataset, Sample
from unet_edge.dataset.unlabelled import UnlabelledPictures
from unet_edge.evaluation.verification import ReferenceMask
from unet_edge.images.decoding import read_photo
from unet_edge.images.mask_file import read_labels
from unet_edge.images.placement import Pixels, Placement
from unet_edge.masks.mask import png_bytes
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.backends.backend import Scores
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress

#: Two best logits closer than this are a near tie: the second class is at least exp(-0.1) = 90 %
#: as likely as the first. The number serves only to rank pictures.
NEAR_TIE_LOGITS = 0.1


@dataclass(frozen=True)
class HeldOut:
    """A held-out picture with the reference's mask and the true mask.

    `labels` and `truth` are the two masks as PNG, which takes 18 to 300 times less memory than
    arrays; `truth` is None for a picture without labels. `miou` is the reference's on this picture,
    nan without labels or if every pixel is ignored. `near_ties` is the share of its pixels on the
    grid, without padding, whose two best logits nearly tie.
    """

    name: str
    image: Path
    labels: bytes
    truth: bytes | None
    miou: float
    near_ties: float

    def unpacked(self) -> ReferenceMask:
        """The picture with its masks as uint8 (H, W), for `verify`."""
        labels = np.asarray(read_labels(self.labels))
        truth = None if self.truth is None else np.asarray(read_labels(self.truth))
        # The path, not the pixels: the proof includes decoding.
        return ReferenceMask(self.name, self.image, labels, truth)


class _Recorder(KerasBackend):
    """A Keras backend that keeps the scores of the last picture."""

    last: Scores

    def scores(self, pixels: Pixels) -> Scores:
        self.last = super().scores(pixels)
        return self.last


def held_out(
    model: keras.Model, spec: ModelSpec, dataset: Dataset, count: int, split: str = "validation"
) -> tuple[list[HeldOut], Confusion]:
    """Run the Keras model on up to `count` pictures of a split.

    Returns the pictures with their masks, and the confusion over all of them. Raises ImageError or
    DataError for the pictures.
    """
    backend = _Recorder(model)
    segmenter = Segmenter(spec, backend, "Keras")
    pictures, total = [], Confusion.empty(dataset.classes)
    for sample in progress(_spread(dataset.splits[split], count), f"Keras reference, {split}"):
        photo, truth = dataset.read_for(sample, spec)
        mask = segmenter.segment(photo)
        confusion = Confusion.of(truth, mask.labels, dataset.classes)
        total += confusion
        labels_png, truth_png = (png_bytes(Image.fromarray(each)) for each in (mask.labels, truth))
        ties = near_ties(backend.last, Placement.plan(photo.size, spec))
        pictures.append(
            HeldOut(sample.name, sample.image, labels_png, truth_png, confusion.miou, ties)
        )
    return pictures, total


def held_out_unlabelled(
    model: keras.Model, spec: ModelSpec, pictures: UnlabelledPictures, count: int
) -> list[HeldOut]:
    """Run the Keras model on up to `count` pictures to prove on, which have no true masks.

    Raises ImageError.
    """
    backend = _Recorder(model)
    segmenter = Segmenter(spec, backend, "Keras")
    results = []
    for sample in progress(_spread(pictures.validation, count), "Keras reference"):
        photo = read_photo(sample.image, spec)
        labels = png_bytes(Image.fromarray(segmenter.segment(photo).labels))
        ties = near_ties(backend.last, Placement.plan(photo.size, spec))
        results.append(HeldOut(sample.name, sample.image, labels, None, math.nan, ties))
    return results


def near_ties(logits: Scores, placement: Placement) -> float:
    """Share (0..1) of the picture's pixels on the grid whose two best logits nearly tie.

    `logits` are those of the model's grid, float (H, W, C). Padding does not count.
    """
    best = np.partition(logits[placement.box], -2, axis=-1)[..., -2:]
    return float((best[..., 1] - best[..., 0] < NEAR_TIE_LOGITS).mean())


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spaced."""
    if len(samples) <= count:
        return list(samples)
    return [samples[index * len(samples) // count] for index in range(count)]
