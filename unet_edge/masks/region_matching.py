"""Object-level figures: which connected regions of each class a mask finds, misses and invents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.images.placement import Labels
from unet_edge.masks.metrics import require_equal_shapes
from unet_edge.spec import IGNORE

MATCH_IOU = 0.5
"""Two regions match above this IoU.

Above one half a region has at most one match: Kirillov et al., "Panoptic Segmentation", CVPR 2019.
"""

_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RegionMatches:
    """Regions of each class in the true masks and in the predicted ones, int64 (classes,).

    A region is a set of pixels of one class that are connected by their edges. `matched` counts the
    pairs with an IoU above MATCH_IOU. `touched_truth` counts the true regions that share a pixel
    with the prediction of their class, `touched_prediction` the reverse.

    Ignored pixels belong to no region. A true region may end at them. A predicted region keeps its
    other pixels. One that touches no true region of its class is left out where more than half of
    it is ignored, as Kirillov et al. leave out unmatched ones.
    """

    truth: _Counts
    prediction: _Counts
    matched: _Counts
    touched_truth: _Counts
    touched_prediction: _Counts

    @classmethod
    def empty(cls, classes: int) -> RegionMatches:
        """No regions yet."""
        return cls(*np.zeros((5, classes), np.int64))

    @classmethod
    def of(cls, truth: Labels, prediction: Labels, classes: int) -> RegionMatches:
        """Count one pair of masks, uint8 (H, W) of equal shape; IGNORE marks ignored pixels.

        Raises ConfigError for masks of different shapes.
        """
        require_equal_shapes(truth, prediction)
        regions = [_components(mask) for mask in (truth, prediction)]
        # Each stretch of a row that lies in one true and one predicted region: there are far
        # fewer of these than pixels.
        starts = _changes(regions[0], regions[1])
        lengths = np.diff(np.append(starts, truth.size))
        true, predicted = (each.ravel()[starts] for each in regions)
        true_class, predicted_class = (each.ravel()[starts] for each in (truth, prediction))
        ignored = true_class == IGNORE

        class_of, area = _by_region(true, true_class, lengths)
        class_of_predicted, whole = _by_region(predicted, predicted_class, lengths)
        left = np.bincount(predicted[~ignored], lengths[~ignored], len(whole)).astype(np.int64)
        is_true = class_of != IGNORE

        both = (true_class == predicted_class) & ~ignored
        pairs = true[both].astype(np.int64) * len(whole) + predicted[both]
        pair, where = np.unique(pairs, return_inverse=True)
        shared = np.bincount(where.ravel(), lengths[both], len(pair)).astype(np.int64)
        first, second = np.divmod(pair, len(whole))
        union = area[first] + left[second] - shared
        matches = shared > MATCH_IOU * union
        matched = first[matches]
        # What is mostly ignored is left out where it touches no true region of its class.
        is_predicted = (class_of_predicted != IGNORE) & (2 * left >= whole) & (left > 0)
        is_predicted[second] = True

        def count(of_class: NDArray[np.uint8]) -> _Counts:
            return np.bincount(of_class, minlength=256)[:classes].astype(np.int64)

        return cls(
            truth=count(class_of[is_true]),
            prediction=count(class_of_predicted[is_predicted]),
            matched=count(class_of[matched]),
            touched_truth=count(class_of[np.unique(first)]),
            touched_prediction=count(class_of_predicted[np.unique(second)]),
        )

    def __add__(self, other: RegionMatches) -> RegionMatches:
        return RegionMatches(
            self.truth + other.truth,
            self.prediction + other.prediction,
            self.matched + other.matched,
            self.touched_truth + other.touched_truth,
            self.touched_prediction + other.touched_prediction,
        )

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """For each class, the counts of regions as plain JSON values."""
        return {
            name: {
                "true": int(self.truth[index]),
                "predicted": int(self.prediction[index]),
                "iou_0.5": {
                    "found": int(self.matched[index]),
                    "missed": int(self.truth[index] - self.matched[index]),
                    "false": int(self.prediction[index] - self.matched[index]),
                },
                "any_overlap": {
                    "found": int(self.touched_truth[index]),
                    "missed": int(self.truth[index] - self.touched_truth[index]),
                    "false": int(self.prediction[index] - self.touched_prediction[index]),
                },
            }
            for index, name in enumerate(classes)
        }


def _by_region(
    region: NDArray[np.int32], label: NDArray[np.uint8], lengths: _Counts
) -> tuple[NDArray[np.uint8], _Counts]:
    """The label and the area, px, of each region, from stretches of rows that lie in one."""
    count = int(region.max()) + 1
    label_of = np.zeros(count, np.uint8)
    label_of[region] = label
    return label_of, np.bincount(region, lengths, count).astype(np.int64)


def _changes(*masks: NDArray[Any]) -> NDArray[np.intp]:
    """Flat indices at which a row begins or any of the (H, W) masks changes along it."""
    change = np.zeros(masks[0].shape, bool)
    change[:, 0] = True
    for mask in masks:
        change[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.flatnonzero(change)


def _components(labels: Labels) -> NDArray[np.int32]:
    """The number, from 0, of each pixel's connected region of equal labels, int32 (H, W)."""
    starts = _changes(labels)
    lengths = np.diff(np.append(starts, labels.size))
    runs = np.repeat(np.arange(len(starts), dtype=np.int32), lengths).reshape(labels.shape)
    # Runs of one label that lie above each other; where both go on, the pixel before said so.
    joined = labels[1:] == labels[:-1]
    joined[:, 1:] &= (runs[1:, 1:] != runs[1:, :-1]) | (runs[:-1, 1:] != runs[:-1, :-1])
    above, below = runs[:-1][joined], runs[1:][joined]
    root = np.arange(len(starts), dtype=np.int32)
    while len(above):
        # Each root is hung below the lowest that it meets, then every run below its root.
        high, low = np.maximum(root[above], root[below]), np.minimum(root[above], root[below])
        np.minimum.at(root, high, low)
        while not np.array_equal(higher := root[root], root):
            root = higher
        apart = root[above] != root[below]
        above, below = above[apart], below[apart]
    _, numbers = np.unique(root, return_inverse=True)
    return numbers.ravel().astype(np.int32)[runs]
