"""Agreement: the share of pixels whose label equals that of the reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from unet_edge.images.placement import Labels
from unet_edge.masks.metrics import require_equal_shapes


@dataclass
class Agreement:
    """The agreement of masks with those of the reference, counted picture by picture.

    `names` and `shares` (0..1) have an entry for each picture, in order. All labels count.
    """

    equal_pixels: int = 0
    pixels: int = 0
    names: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def add(self, name: str, labels: Labels, reference: Labels) -> None:
        """Count a picture with its two masks, uint8 (H, W).

        Raises ConfigError for masks of different shapes.
        """
        require_equal_shapes(reference, labels)
        equal = int(np.count_nonzero(labels == reference))
        self.equal_pixels += equal
        self.pixels += labels.size
        self.names.append(name)
        self.shares.append(equal / labels.size)

    @property
    def share(self) -> float:
        """The share of all pixels of all pictures, 0..1; nan without pictures."""
        return self.equal_pixels / self.pixels if self.pixels else float("nan")

    @property
    def worst(self) -> float:
        """The lowest share of a picture, 0..1. Raises ValueError without pictures."""
        return min(self.shares)

    @property
    def worst_picture(self) -> str:
        """The name of the first picture with the lowest share."""
        return self.names[self.shares.index(self.worst)]
