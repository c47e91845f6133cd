"""Batches of pixels and labels: augmented crops for training, whole grids for validation."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from unet_edge.dataset import Dataset, Sample
from unet_edge.images.placement import Labels, Pixels, Placement
from unet_edge.spec import ModelSpec
from unet_edge.system.look_ahead import results_in_order
from unet_edge.training.augmentation import augment_into
from unet_edge.training.settings.augmentation import PLAIN, Augmentation
from unet_edge.training.settings.train_config import TrainConfig

WORKERS = 2
"""Threads that draw batches ahead."""

_CACHE_BYTES = 1 << 30  # of decoded pictures and masks: 1 GiB

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Pixels, uint8 (N, H, W, 3), and labels, uint8 (N, H, W)."""


class TrainingBatches:
    """The batches of a run. Each pass draws every picture once, in a new order.

    Batch k depends only on the seed and k: the number of workers or an interruption changes
    nothing. `part` draws only some samples of each batch, for one of several processes. Decoded
    pictures are kept in memory, up to a limit.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: ModelSpec,
        *,
        crop: tuple[int, int],
        batch_size: int,
        augmentation: Augmentation | None,
        seed: int,
        part: slice = slice(None),
    ) -> None:
        self.dataset = dataset
        self.spec = spec
        self.crop = crop
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed
        self.part = part
        self._cache: dict[str, tuple[Image.Image, Labels]] = {}
        self._cached_bytes = 0

    def __getitem__(self, index: int) -> Batch:
        positions = range(index * self.batch_size, (index + 1) * self.batch_size)[self.part]
        count = len(positions)
        pixels = np.empty((count, *self.crop, 3), np.uint8)
        labels = np.empty((count, *self.crop), np.uint8)
        for place, position in enumerate(positions):
            self._draw(position, pixels[place], labels[place])
        return pixels, labels

    def stream(self, first: int, last: int, workers: int = WORKERS) -> Generator[Batch, None, None]:
        """Batches `first` to `last` - 1 in order, drawn ahead by threads.

        Pillow and NumPy let go of the interpreter while they work, so threads are enough.
        """
        with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
            yield from results_in_order(
                lambda index: pool.submit(self.__getitem__, index), range(first, last), 2 * workers
            )

    def _draw(self, position: int, pixels: Pixels, labels: Labels) -> None:
        count = len(self.dataset.train)
        order = _order(self.seed, position // count, count)
        sample = self.dataset.train[order[position % count]]
        if self.augmentation is None:
            pixels[:], labels[:] = place_sample(self.dataset, sample, self.spec)
            return
        random = np.random.default_rng((self.seed, position, 1))
        settings = self.augmentation
        augment_into(pixels, labels, *self._read(sample), self.spec, settings, random)

    def _read(self, sample: Sample) -> tuple[Image.Image, Labels]:
        cached = self._cache.get(sample.name)
        if cached is not None:
            return cached
        photo, labels = self.dataset.read_for(sample, self.spec)
        picture = photo.picture
        if _is_grey(picture):
            picture = picture.getchannel(0)
        size = len(picture.getbands()) * picture.width * picture.height + labels.nbytes
        # Nothing is evicted: every picture is drawn equally often, so that would gain nothing. Two
        # workers may both add the last picture.
        if self._cached_bytes + size <= _CACHE_BYTES:
            self._cache[sample.name] = picture, labels
            self._cached_bytes += size
        return picture, labels


@lru_cache(maxsize=4)  # at the end of a pass, workers draw from two passes
def _order(seed: int, number: int, count: int) -> NDArray[np.int64]:
    """The order of pass `number` over `count` pictures."""
    order = np.random.default_rng((seed, number)).permutation(count)
    order.flags.writeable = False  # every caller gets the same array
    return order


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = picture.split()
    return not any(ImageChops.difference(red, band).getbbox() for band in (green, blue))


def training_batches(
    config: TrainConfig,
    dataset: Dataset,
    spec: ModelSpec,
    *,
    seed: int,
    plain: bool = False,
    **options: Any,
) -> TrainingBatches:
    """Make the batches of a run; `plain` ones are crops without other augmentation."""
    augmentation = PLAIN if plain else config.augmentation
    return TrainingBatches(
        dataset,
        spec,
        crop=config.crop_size,
        batch_size=config.batch_size,
        augmentation=augmentation if config.augment else None,
        seed=seed,
        **options,
    )


def place_sample(dataset: Dataset, sample: Sample, spec: ModelSpec) -> Batch:
    """Place one sample on the inference grid: pixels uint8 (H, W, 3), labels uint8 (H, W)."""
    photo, labels = dataset.read_for(sample, spec)
    placement = Placement.plan(photo.size, spec)
    return placement.place(photo.picture), placement.place_labels(labels)


def grid_batches(
    dataset: Dataset, samples: Sequence[Sample], spec: ModelSpec, batch_size: int
) -> Iterator[Batch]:
    """Yield whole pictures on the inference grid, in order; the last batch may be smaller."""
    for start in range(0, len(samples), batch_size):
        placed = [
            place_sample(dataset, sample, spec) for sample in samples[start : start + batch_size]
        ]
        yield np.stack([pixels for pixels, _ in placed]), np.stack([labels for _, labels in placed])
