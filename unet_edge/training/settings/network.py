"""Network: which network is built, and the input sizes it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from unet_edge.errors import ConfigError

Architecture = Literal["mobilenet_unet", "unet_mini", "imported"]
"""`imported` is the network of an imported run: only its model.keras describes it."""

DecoderKind = Literal["separable", "dense"]
Encoder = Literal["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"]

STRIDES: dict[Architecture, int] = {"mobilenet_unet": 16, "unet_mini": 4, "imported": 1}
"""By architecture, the px of which the input's height and width must be multiples.

The sizes of an imported network are checked when its model is loaded.
"""

#: Width multipliers for which keras.applications publishes weights.
ALPHAS: Mapping[Encoder, tuple[float, ...]] = {
    "mobilenet_v1": (0.25, 0.5, 0.75, 1.0),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "mobilenet_v3_small": (0.75, 1.0),
    "mobilenet_v3_large": (0.75, 1.0),
}


@dataclass(frozen=True)
class Network:
    """The architecture, decoder and encoder; `alpha` is the width multiplier."""

    architecture: Architecture = "mobilenet_unet"
    decoder: DecoderKind = "separable"
    alpha: float = 1.0
    encoder: Encoder = "mobilenet_v1"

    def __post_init__(self) -> None:
        for name, kinds in (
            ("architecture", Architecture),
            ("decoder", DecoderKind),
            ("encoder", Encoder),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(
                    f"unknown {name} {getattr(self, name)!r}",
                    fix=f"choose one of {', '.join(get_args(kinds))}",
                )
        if self.alpha not in ALPHAS[self.encoder]:
            raise ConfigError(
                f"{self.encoder} has no alpha {self.alpha}",
                fix=f"choose one of {', '.join(map(str, ALPHAS[self.encoder]))}",
            )

    def __str__(self) -> str:
        if self.architecture != "mobilenet_unet":
            return self.architecture
        return (
            f"{self.architecture}, {self.decoder} decoder, {self.encoder} of alpha {self.alpha:g}"
        )

    @property
    def stride(self) -> int:
        """The input's height and width must be multiples of this many px."""
        return STRIDES[self.architecture]


def require_grid(label: str, size: tuple[int, int], architecture: Architecture) -> None:
    """Raise ConfigError unless the network accepts `size`, (height, width) px."""
    stride = STRIDES[architecture]
    if any(edge < 1 or edge % stride for edge in size):
        nearest = "x".join(str(max(stride, round(edge / stride) * stride)) for edge in size)
        raise ConfigError(
            f"{label} is {size[0]}x{size[1]}",
            expected=f"{architecture} needs multiples of {stride} px, e.g. {nearest}",
        )
