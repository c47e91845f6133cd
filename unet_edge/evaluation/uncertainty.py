"""How unsure a model is of a picture: margin, entropy, or disagreement with its mirror image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError
from unet_edge.images.decoding import ImageSource, Photo, read_photo
from unet_edge.images.placement import Labels, Pixels, Placement
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.segmenter import Segmenter

Measure = Literal["margin", "entropy", "flips"]
"""What a pixel's uncertainty is, 0 (sure) to 1.

- margin: 1 - (p1 - p2), with the probabilities of the two most probable classes.
- entropy: the entropy of the probabilities, as a share of its maximum, log(classes).
- flips: 1 where the masks of the picture and of its mirror image (left-right) differ, else 0.
"""

Aggregate = Literal["mean", "share"]
"""How pixels become one score: their mean, or the share of those above UNSURE."""

UNSURE = 0.5
"""Pixels above it count for "share": the two best classes are less than 0.5 apart in margin."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A picture on the part of the model's grid that it fills, and how unsure each pixel is.

    `size` is the photo's (width, height) px. `pixels` is uint8 (h, w, 3), `labels` uint8 (h, w),
    `values` float32 (h, w) of 0..1. Padding is not part of them.
    """

    size: tuple[int, int]
    pixels: Pixels
    labels: Labels
    values: NDArray[np.float32]

    def score(self, aggregate: Aggregate = "mean") -> float:
        """The picture's uncertainty, 0..1."""
        match aggregate:
            case "mean":
                return float(self.values.mean(dtype=np.float64))
            case "share":
                return float((self.values > UNSURE).mean())
            case _:
                assert_never(aggregate)


def uncertainty(segmenter: Segmenter, image: ImageSource | Photo, measure: Measure) -> Uncertainty:
    """Measure how unsure the model is of each pixel of a picture.

    Raises ImageError when the picture cannot be read, and BackendError as `require_measure` does.
    """
    photo = read_photo(image, segmenter.spec)
    placement = Placement.plan(photo.size, segmenter.spec)
    grid, box = placement.place(photo.picture), placement.box
    if measure == "flips":
        labels = segmenter.backend.labels(grid)
        mirrored = segmenter.backend.labels(np.ascontiguousarray(grid[:, ::-1]))[:, ::-1]
        labels, values = labels[box], (labels != mirrored)[box].astype(np.float32)
    else:
        logits = segmenter.logits(grid)[box]
        labels, values = to_labels(logits), pixel_uncertainty(logits, measure)
    return Uncertainty(photo.size, grid[box], labels, values)


def require_measure(segmenter: Segmenter, measure: Measure) -> None:
    """Raise BackendError if the file outputs labels and the measure needs scores."""
    if segmenter.spec.output == "labels" and measure != "flips":
        raise BackendError(
            f"this file outputs the class of each pixel, and {measure} needs scores",
            fix="choose --by flips, or a file that was exported without --labels",
        )


def pixel_uncertainty(
    logits: NDArray[np.float32], measure: Literal["margin", "entropy"]
) -> NDArray[np.float32]:
    """The margin or entropy of each pixel, float32 (h, w) of 0..1.

    `logits` is float32 (h, w, classes), of two classes or more.
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    values: NDArray[np.float32]
    match measure:
        case "margin":
            best = np.partition(shares, -2, axis=-1)[..., -2:]
            values = 1 - (best[..., 1] - best[..., 0])
        case "entropy":
            # 0 log 0 is 0; the smallest normal float32 keeps the logarithm finite.
            logs = np.log(np.maximum(shares, np.finfo(np.float32).tiny))
            values = -(shares * logs).sum(axis=-1) / np.float32(np.log(logits.shape[-1]))
        case _:
            assert_never(measure)
    return np.clip(values, 0, 1)
