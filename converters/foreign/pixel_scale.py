"""Pixels that were only scaled and reordered so far: the start of a foreign model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from converters.foreign.input_scaling import InputScaling

Numbers = tuple[float, float, float]


@dataclass(frozen=True)
class PixelScale:
    """Channel i is scale[i] * pixel[order[i]] + offset[i]; a pixel is red, green, blue, 0..255."""

    scale: Numbers
    offset: Numbers
    order: tuple[int, int, int]

    @classmethod
    def of(cls, scaling: InputScaling) -> Self:
        """The input of a model that is scaled by `scaling`."""
        order = (0, 1, 2) if scaling.color_order == "rgb" else (2, 1, 0)
        scale = [1 / scaling.std[channel] for channel in order]
        offset = [-scaling.mean[channel] / scaling.std[channel] for channel in order]
        return cls(_three(scale), _three(offset), order)

    def times(self, scale: Any, offset: Any) -> Self:
        """These values times `scale` plus `offset`, a number for each channel.

        Raises ValueError for arrays that are not one number, or one for each channel.
        """
        factors, terms = _broadcast(scale), _broadcast(offset)
        return type(self)(
            _three(np.array(self.scale) * factors),
            _three(np.array(self.offset) * factors + terms),
            self.order,
        )

    @property
    def keeps_channels(self) -> bool:
        """Whether no channel of the picture is lost, and all values are finite numbers."""
        return all(self.scale) and bool(np.isfinite([*self.scale, *self.offset]).all())

    def reordered(self, *channels: int) -> Self:
        """These values with the channels of three indices, in this order."""
        first, second, third = (self.order[channel] for channel in channels)
        scale = [self.scale[channel] for channel in channels]
        offset = [self.offset[channel] for channel in channels]
        return type(self)(_three(scale), _three(offset), (first, second, third))

    def mean(self) -> int | None:
        """The pixel value of 0..255 that becomes 0 in each channel; None if there is none."""
        zeros = [-offset / scale for scale, offset in zip(self.scale, self.offset, strict=True)]
        mean = round(zeros[0])
        # A mean and a std that were written in float32 leave 2**-24 of 255 each.
        exact = all(abs(zero - mean) <= 2**-22 * 255 for zero in zeros)
        return mean if exact and 0 <= mean <= 255 else None

    def after(self, mean: float, std: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factors (3,) and terms (3,) that make these values of (pixel - mean) / std."""
        scale = np.array(self.scale)
        return scale * std, np.array(self.offset) + scale * mean

    def convolution(
        self, mean: float, std: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Kernel (1, 1, 3, 3) and bias (3,) that make these values of (pixel - mean) / std."""
        factors, terms = self.after(mean, std)
        kernel = np.zeros((1, 1, 3, 3))
        for channel, source in enumerate(self.order):
            kernel[0, 0, source, channel] = factors[channel]
        return kernel, terms

    def of_pixels(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """These values of pixels (..., 3)."""
        values: NDArray[np.float64] = pixels[..., self.order] * np.array(self.scale)
        return values + np.array(self.offset)


@dataclass(frozen=True)
class PixelChannel:
    """One channel of scaled pixels, until it is put together with others again."""

    pixels: PixelScale
    channel: int


def _broadcast(value: Any) -> NDArray[np.float64]:
    array = np.asarray(value, np.float64)
    if array.size not in (1, 3):
        raise ValueError(f"an array of shape {array.shape} is not one number for each channel")
    return np.broadcast_to(array.reshape(-1), (3,))


def _three(values: Any) -> Numbers:
    one, two, three = (float(value) for value in values)
    return (one, two, three)
