"""Augmentation: how much the random views of training differ from the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the augmentation; 0 (or 1 for `scale`) switches one off.

    `any_orientation` adds vertical flips and quarter turns, for pictures without an up and down.
    `scale` is the range of zoom relative to the size at inference. `aspect` is the largest relative
    stretch of width against height. `rotation` is the largest turn in degrees, in both directions.
    `elastic` is the standard deviation, in px of the crop, of the displacement of a 9x9 grid's
    points (similar to Simard et al. 2003). `hue` is a share of the colour circle. `saturation`,
    `brightness` and `contrast` are the largest relative changes, up or down. `blur` is the largest
    standard deviation of a Gaussian blur in px. `noise` is the largest standard deviation of grey
    Gaussian noise, as a share of full scale. Half of the views are blurred, and half are noisy.
    """

    horizontal_flip: bool = True
    any_orientation: bool = False
    scale: tuple[float, float] = (0.5, 2.0)
    aspect: float = 0.3
    rotation: float = 0.0
    elastic: float = 0.0
    hue: float = 0.05
    saturation: float = 0.4
    brightness: float = 0.3
    contrast: float = 0.3
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 100:
            raise ConfigError(
                f"scale is {low}..{high}", expected="it must be 0 < low <= high <= 100"
            )
        for name in ("aspect", "hue", "saturation", "brightness", "contrast", "noise"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ConfigError(
                    f"{name} is {value}", expected="it must be at least 0 and below 1"
                )
        for name in ("elastic", "blur"):
            if not 0 <= (value := getattr(self, name)) <= 50:
                raise ConfigError(f"{name} is {value}", expected="it must be 0 to 50 px")
        if not 0 <= self.rotation <= 180:
            raise ConfigError(
                f"rotation is {self.rotation}", expected="it must be 0 to 180 degrees"
            )

    @property
    def warps(self) -> bool:
        """Whether views are rotated or bent, not only cropped and scaled."""
        return self.rotation > 0 or self.elastic > 0


#: Crops at the size and in the colours that inference sees.
PLAIN: Final = Augmentation(
    scale=(1.0, 1.0), aspect=0.0, hue=0.0, saturation=0.0, brightness=0.0, contrast=0.0
)
