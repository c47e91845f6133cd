"""Pictures with true labels for a benchmark, whose masks are read once for all its processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unet_edge.dataset import Dataset, Sample


@dataclass(frozen=True)
class LabelledPicture:
    """A picture file, and a file with its labels: a greyscale PNG of the picture's size."""

    name: str
    picture: Path
    labels: Path


def store_labels(
    dataset: Dataset, samples: Iterable[Sample], folder: Path, bit_depth: int | None
) -> list[LabelledPicture]:
    """Read each sample's mask by the data set's rule, and write its labels into `folder`.

    So a process that measures needs no rule, and a bad mask is an error before anything is
    measured: ImageError or DataError.
    """
    stored = []
    for number, sample in enumerate(samples):
        _, labels = dataset.read(sample, bit_depth)
        path = folder / f"{number}.png"
        Image.fromarray(labels).save(path)
        stored.append(LabelledPicture(sample.name, sample.image.absolute(), path))
    return stored
