"""The boundary F-score: how well contours match, which the IoU of large regions hardly shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConfigError
from unet_edge.images.placement import Labels
from unet_edge.masks.metrics import ratios, require_equal_shapes
from unet_edge.spec import IGNORE

DIAGONAL_SHARE = 0.0075
"""The default tolerance, as a share of the picture's diagonal.

Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013, after
the Berkeley benchmark. DAVIS (Perazzi et al., CVPR 2016) takes 0.008 and rounds up to whole px.
"""

_Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Boundary:
    """Boundary pixels of each class, and how many of them the other mask matches.

    All four are int64 (classes,). A boundary pixel has a 4-neighbour of another class. It is
    matched when the other mask has a boundary pixel of the same class within the tolerance, as a
    Euclidean distance. The picture's edge is not a boundary.

    Ignored pixels make no boundary. A boundary pixel within the tolerance of an ignored pixel is
    not counted, since its match may be among the ignored pixels; it can still match others. So
    masks that ignore every contour, such as PASCAL VOC's, have almost nothing to count.

    Csurka et al. average the F-score over pictures. Here the pixels of all pictures are added up
    first, as in `Confusion`.
    """

    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    matched_truth: NDArray[np.int64]
    matched_prediction: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Boundary:
        """No boundaries yet."""
        return cls(*np.zeros((4, classes), np.int64))

    @classmethod
    def of(
        cls, truth: Labels, prediction: Labels, classes: int, tolerance: float | None = None
    ) -> Boundary:
        """Count one pair of masks, uint8 (H, W) of equal shape; IGNORE in `truth` is ignored.

        `tolerance` is in px, by default DIAGONAL_SHARE of the picture's diagonal.
        Raises ConfigError for masks of different shapes or a tolerance below 0.
        """
        require_equal_shapes(truth, prediction)
        if tolerance is None:
            tolerance = DIAGONAL_SHARE * math.hypot(*truth.shape)
        if not 0 <= tolerance < math.inf:
            raise ConfigError(
                f"the boundary tolerance is {tolerance} px",
                expected="it must be finite and at least 0",
            )
        width = truth.shape[1]
        ignored = truth == IGNORE
        # From outside a region, its nearest pixel is on its edge.
        hidden = np.flatnonzero(ignored & _edges(ignored))
        contours = []
        for mask in (truth, prediction):
            positions = np.flatnonzero(_edges(mask, ignored))
            counted = ~_near(positions, hidden, width, tolerance)
            contours.append((positions, counted, mask.ravel()[positions]))
        counts = cls.empty(classes)
        for index in range(classes):
            (true, counted_true), (predicted, counted_predicted) = (
                (positions[of_class], positions[of_class & counted])
                for positions, counted, labels in contours
                for of_class in [labels == index]
            )
            counts.truth[index] = counted_true.size
            counts.prediction[index] = counted_predicted.size
            counts.matched_truth[index] = _near(counted_true, predicted, width, tolerance).sum()
            counts.matched_prediction[index] = _near(
                counted_predicted, true, width, tolerance
            ).sum()
        return counts

    def __add__(self, other: Boundary) -> Boundary:
        return Boundary(
            self.truth + other.truth,
            self.prediction + other.prediction,
            self.matched_truth + other.matched_truth,
            self.matched_prediction + other.matched_prediction,
        )

    @property
    def precision(self) -> tuple[float, ...]:
        """Share of each class's predicted boundary that is true, 0..1; nan without a boundary."""
        return ratios(self.matched_prediction, self.prediction)

    @property
    def recall(self) -> tuple[float, ...]:
        """Share of each class's true boundary that was predicted, 0..1; nan without a boundary."""
        return ratios(self.matched_truth, self.truth)

    @property
    def f_score(self) -> tuple[float, ...]:
        """Harmonic mean of precision and recall of each class, 0..1.

        0 for a class with a boundary in only one of the masks, nan for one without any boundary.
        """
        return tuple(
            _harmonic_mean(*pair) for pair in zip(self.precision, self.recall, strict=True)
        )


def boundary_band(labels: Labels, tolerance: float | None = None) -> NDArray[np.bool_]:
    """The pixels of a mask within `tolerance` px of a boundary, bool (H, W).

    `tolerance` is by default DIAGONAL_SHARE of the picture's diagonal.
    """
    if tolerance is None:
        tolerance = DIAGONAL_SHARE * math.hypot(*labels.shape)
    edges = np.flatnonzero(_edges(labels))
    everywhere = np.arange(labels.size)
    return _near(everywhere, edges, labels.shape[1], tolerance).reshape(labels.shape)


def _harmonic_mean(precision: float, recall: float) -> float:
    # With nothing to count in one mask, the other mask decides. Its share is 0 if the class has no
    # boundary in the first mask, and higher if ignored pixels are close to all of that boundary.
    precision, recall = (
        recall if math.isnan(precision) else precision,
        precision if math.isnan(recall) else recall,
    )
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def _edges(
    values: NDArray[np.uint8] | NDArray[np.bool_], left_out: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour of another value, bool (H, W); `left_out` have no neighbours."""
    edges = np.zeros(values.shape, np.bool_)
    for axis in (0, 1):
        before, after = _shifted(values, axis)
        differs = before != after
        if left_out is not None:
            for side in _shifted(left_out, axis):
                differs &= ~side
        for side in _shifted(edges, axis):
            side |= differs
    return edges


def _shifted(array: NDArray[np.generic], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Views of all but the last and all but the first row (axis 0) or column (axis 1)."""
    return (array[:-1], array[1:]) if axis == 0 else (array[:, :-1], array[:, 1:])


def _near(
    points: _Positions, targets: _Positions, width: int, tolerance: float
) -> NDArray[np.bool_]:
    """Whether any target is within `tolerance` px of each point, bool (points,).

    Points and targets are flat positions in a picture `width` px wide. In each column, the disk
    around a point covers one vertical run, and running sums down the column say whether the run
    holds a target. Columns are tried from the middle, and matched points are dropped. So the work
    hardly grows with the tolerance if most points have a match.
    """
    near = np.zeros(points.size, np.bool_)
    if not points.size or not targets.size:
        return near
    rows, columns = np.divmod(points, width)
    target_rows, target_columns = np.divmod(targets, width)
    top, left = min(rows.min(), target_rows.min()), min(columns.min(), target_columns.min())
    height = max(rows.max(), target_rows.max()) - top + 1
    breadth = max(columns.max(), target_columns.max()) - left + 1
    # A margin as wide as any run or shift, so that none needs clipping.
    tall, wide = min(int(tolerance), height), min(int(tolerance), breadth)
    stride = breadth + 2 * wide
    # Running sums may wrap around in uint16, since only differences over one run are read.
    sums = np.zeros((height + 2 * tall + 1, stride), np.uint16)
    sums[target_rows - top + tall + 1, target_columns - left + wide] = 1
    np.cumsum(sums, axis=0, out=sums)
    table = sums.ravel()
    index = (rows - top + tall) * stride + columns - left + wide
    waiting = np.arange(points.size)
    for shift in sorted(range(-wide, wide + 1), key=abs):
        # 1e-9, because sqrt(2) px squared may be slightly less than 2.
        run = min(int(math.sqrt(tolerance**2 - shift**2 + 1e-9)), tall)
        hit = table.take(index + ((run + 1) * stride + shift)) != table.take(
            index + (shift - run * stride)
        )
        near[waiting[hit]] = True
        waiting, index = waiting[~hit], index[~hit]
        if not waiting.size:
            break
    return near
