"""Sample and Dataset: pairs of pictures and masks, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from unet_edge.dataset.coco import CocoPicture
from unet_edge.dataset.labelme import read_labelme
from unet_edge.dataset.rules import MaskRule, StoredMask
from unet_edge.errors import DataError
from unet_edge.images.decoding import Photo, decode, read_photo
from unet_edge.images.mask_file import read_colors, read_labels
from unet_edge.images.placement import Labels
from unet_edge.spec import ModelSpec


@dataclass(frozen=True)
class Sample:
    """One picture and its mask, which may be a COCO or labelme file.

    `drawing` holds the picture's regions if the mask is a COCO file.
    """

    name: str
    image: Path
    mask: Path
    drawing: CocoPicture | None = field(default=None, compare=False, repr=False)


Progress = Callable[[Sequence[Sample], str], Iterable[Sample]]
"""Wraps a loop over samples to show its progress; the second argument is a label."""


@dataclass(frozen=True)
class Dataset:
    """Samples of every split and the rule that reads their masks.

    `test` is neither trained on nor used to choose the best round. `class_names` start with class
    0, the background. `notes` describe what was detected: layout, split and mask encoding.
    """

    root: Path
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    rule: MaskRule
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    test: tuple[Sample, ...] = ()

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """The samples of each split by its name: train, validation and, if not empty, test."""
        splits = {"train": self.train, "validation": self.validation}
        return splits | ({"test": self.test} if self.test else {})

    @property
    def classes(self) -> int:
        """The number of classes, the background included."""
        return len(self.class_names)

    def read(self, sample: Sample, bit_depth: int | None = None) -> tuple[Image.Image, Labels]:
        """Read the upright RGB picture and its labels, uint8 (H, W), of equal size.

        Raises ImageError for an unreadable file, DataError for a mask of another size or with
        values that are not classes.
        """
        picture = decode(sample.image, bit_depth=bit_depth)
        return picture, self._labels(sample, picture.size)

    def read_for(self, sample: Sample, spec: ModelSpec) -> tuple[Photo, Labels]:
        """Read the picture, decoded as a contract requires, and its labels, uint8 (H, W).

        The labels have the photo's own size, even if the decoder reduced its pixels.
        Raises ImageError and DataError as `read` does.
        """
        photo = read_photo(sample.image, spec)
        return photo, self._labels(sample, photo.size)

    def _labels(self, sample: Sample, size: tuple[int, int]) -> Labels:
        stored = self.read_stored(sample)
        height, width = stored.shape[:2]
        if size != (width, height):
            raise DataError(
                f"{sample.image} has {size[0]}x{size[1]} px but its mask {sample.mask} has "
                f"{width}x{height} px",
                expected="expected equal sizes",
            )
        return self.rule.apply(stored, self.classes, str(sample.mask))

    def read_stored(self, sample: Sample) -> StoredMask:
        """Read the mask as stored, before the rule: uint8 (H, W), or (H, W, 3) for colours.

        Raises ImageError for an unreadable file, DataError for a malformed annotation.
        """
        if self.rule.kind == "polygons":
            drawing = sample.drawing
            return drawing.labels() if drawing else read_labelme(sample.mask, self.class_names)
        if self.rule.kind == "colors":
            return read_colors(sample.mask)
        return np.asarray(read_labels(sample.mask))
