"""Batches for Keras: augmented crops to train on, and whole grids to validate on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from unet_edge.dataset import Dataset, Sample
from unet_edge.imaging import Placement
from unet_edge.spec import ModelSpec
from unet_edge.training.augmentation import Augmentation, augment

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Pixels, uint8 (N, H, W, 3), and labels, uint8 (N, H, W)."""


class TrainingBatches(keras.utils.PyDataset):
    """`steps` batches a round, each picture as often as every other, in a new order each pass.

    Batch k of round r depends on the seed, r and k alone, so several workers give the same run
    as one.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: ModelSpec,
        *,
        crop: tuple[int, int],
        batch_size: int,
        steps: int,
        augmentation: Augmentation | None,
        seed: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.dataset = dataset
        self.spec = spec
        self.crop = crop
        self.batch_size = batch_size
        self.steps = steps
        self.augmentation = augmentation
        self.seed = seed
        self.round = 0

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        first = (self.round * self.steps + index) * self.batch_size
        drawn = [self._draw(first + offset) for offset in range(self.batch_size)]
        return np.stack([pixels for pixels, _ in drawn]), np.stack([labels for _, labels in drawn])

    def on_epoch_end(self) -> None:
        """Move on to the next round."""
        self.round += 1

    def _draw(self, position: int) -> Batch:
        count = len(self.dataset.train)
        order = np.random.default_rng((self.seed, position // count)).permutation(count)
        sample = self.dataset.train[order[position % count]]
        if self.augmentation is None:
            return place_sample(self.dataset, sample, self.spec)
        picture, labels = self.dataset.read(sample)
        random = np.random.default_rng((self.seed, position, 1))
        return augment(picture, labels, self.spec, self.crop, self.augmentation, random)


def place_sample(dataset: Dataset, sample: Sample, spec: ModelSpec) -> Batch:
    """One sample on the inference grid: pixels uint8 (H, W, 3), labels uint8 (H, W)."""
    picture, labels = dataset.read(sample)
    placement = Placement.plan(picture.size, spec)
    return placement.place(picture), placement.place_labels(labels)


def grid_batches(
    dataset: Dataset, samples: Sequence[Sample], spec: ModelSpec, batch_size: int
) -> Iterator[Batch]:
    """Whole pictures on the inference grid, unaugmented, in order; the last batch is shorter."""
    for start in range(0, len(samples), batch_size):
        placed = [
            place_sample(dataset, sample, spec) for sample in samples[start : start + batch_size]
        ]
        yield np.stack([pixels for pixels, _ in placed]), np.stack([labels for _, labels in placed])
