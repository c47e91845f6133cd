"""The sizes that a network takes. No Keras, so that `data preview` refuses what `train` refuses."""

from __future__ import annotations

from typing import Literal

from unet_edge.errors import ConfigError

Architecture = Literal["mobilenet_unet", "unet_mini"]

STRIDES: dict[Architecture, int] = {"mobilenet_unet": 16, "unet_mini": 4}
"""Height and width of the input must be multiples of so many px."""


def require_grid(label: str, size: tuple[int, int], architecture: Architecture) -> None:
    """Raise ConfigError unless the network takes this (height, width), px."""
    stride = STRIDES[architecture]
    if any(edge < 1 or edge % stride for edge in size):
        near = "x".join(str(max(stride, round(edge / stride) * stride)) for edge in size)
        raise ConfigError(
            f"{label} {size[0]}x{size[1]} must be multiples of {stride} px for {architecture}, "
            f"e.g. {near}"
        )
