"""Object-level figures: which connected regions of each class are found, missed and false."""

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

Above one half, a region has at most one match: Kirillov et al., "Panoptic Segmentation", CVPR 2019.
"""

_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RegionMatches:
    """Regions of each class in the true masks and in the predicted masks, int64 (classes,).

    A region is a set of pixels of one class that are connected by their edges. `matched` counts the
    pairs with an IoU above MATCH_IOU. `touched_truth` counts the true regions that share a pixel
    with the prediction of their class, `touched_prediction` the reverse.

    Ignored pixels belong to no region. A true region may end at them. A predicted region keeps its
    other pixels. If more than half of it is ignored, it counts only if it touches a true region of
    its class. Kirillov et al. leave out unmatched regions in the same way.
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
        true_regions, predicted_regions = _components(truth), _components(prediction)
        # Stretches of a row inside one true and one predicted region: far fewer than pixels.
        starts = _changes(true_regions, predicted_regions)
        lengths = np.diff(np.append(starts, truth.size))
        true, predicted = (each.ravel()[starts] for each in (true_regions, predicted_regions))
        true_class, predicted_class = (each.ravel()[starts] for each in (truth, prediction))
        ignored = true_class == IGNORE

        class_of_true, true_area = _by_region(true, true_class, lengths)
        class_of_predicted, full_area = _by_region(predicted, predicted_class, lengths)
        count_of_predicted = len(full_area)
        # The area of each predicted region without its ignored pixels.
        predicted_area = np.bincount(
            predicted[~ignored], lengths[~ignored], count_of_predicted
        ).astype(np.int64)
        is_true = class_of_true != IGNORE

        # Pairs of a true and a predicted region that share pixels of the same class.
        both = (true_class == predicted_class) & ~ignored
        pairs = true[both].astype(np.int64) * count_of_predicted + predicted[both]
        pair, which = np.unique(pairs, return_inverse=True)
        shared = np.bincount(which.ravel(), lengths[both], len(pair)).astype(np.int64)
        paired_true, paired_predicted = np.divmod(pair, count_of_predicted)
        union = true_area[paired_true] + predicted_area[paired_predicted] - shared
        matched = paired_true[shared > MATCH_IOU * union]
        # A mostly ignored region is left out if it touches no true region of its class.
        is_predicted = (class_of_predicted != IGNORE) & (2 * predicted_area >= full_area)
        is_predicted &= predicted_area > 0
        is_predicted[paired_predicted] = True

        def count(of_class: NDArray[np.uint8]) -> _Counts:
            return np.bincount(of_class, minlength=256)[:classes].astype(np.int64)

        return cls(
            truth=count(class_of_true[is_true]),
            prediction=count(class_of_predicted[is_predicted]),
            matched=count(class_of_true[matched]),
            touched_truth=count(class_of_true[np.unique(paired_true)]),
            touched_prediction=count(class_of_predicted[np.unique(paired_predicted)]),
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
        """The counts of regions of each class, as plain JSON values."""
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
    """The label and the area, px, of each region, from stretches of rows inside one region."""
    count = int(region.max()) + 1
    label_of = np.zeros(count, np.uint8)
    label_of[region] = label
    return label_of, np.bincount(region, lengths, count).astype(np.int64)


def _changes(*masks: NDArray[Any]) -> NDArray[np.intp]:
    """Flat indices at which a row begins, or one of the masks, (H, W), changes along it."""
    change = np.zeros(masks[0].shape, bool)
    change[:, 0] = True
    for mask in masks:
        change[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.flatnonzero(change)


def _components(labels: Labels) -> NDArray[np.int32]:
    """Number the connected regions of equal labels from 0: for each pixel, int32 (H, W)."""
    starts = _changes(labels)
    lengths = np.diff(np.append(starts, labels.size))
    runs = np.repeat(np.arange(len(starts), dtype=np.int32), lengths).reshape(labels.shape)
    # Pairs of runs of one label above each other, once for each pair: where neither run begins,
    # the pixel before has the same pair.
    joined = labels[1:] == labels[:-1]
    joined[:, 1:] &= (runs[1:, 1:] != runs[1:, :-1]) | (runs[:-1, 1:] != runs[:-1, :-1])
    above, below = runs[:-1][joined], runs[1:][joined]
    root = np.arange(len(starts), dtype=np.int32)
    while len(above):
        # Join each root to the lowest root that it meets, then every run to its root.
        high, low = np.maximum(root[above], root[below]), np.minimum(root[above], root[below])
        np.minimum.at(root, high, low)
        while not np.array_equal(parent := root[root], root):
            root = parent
        separate = root[above] != root[below]
        above, below = above[separate], below[separate]
    _, numbers = np.unique(root, return_inverse=True)
    return numbers.ravel().astype(np.int32)[runs]
