"""What a search for a file within a budget tried, as a bundle remembers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unet_edge.model_files.embedded_contract import Precision


@dataclass(frozen=True)
class SearchCandidate:
    """A recipe and what its file came to.

    `agreement` and `worst` are shares of pixels (0..1) equal to Keras', over all pictures and in
    the worst; `miou_drop` is in points of mIoU against the true labels, below 0 for a gain; `ms`
    is the median of an inference here, of all candidates in turn. `pareto`: no other file is at
    least as fast, as small and as close, and better in one.
    """

    recipe: str
    precision: Precision
    float_layers: tuple[str, ...]
    bytes: int
    agreement: float
    worst: float
    miou_drop: float | None
    ms: float
    holds: bool
    pareto: bool = False
    kept: bool = False

    def dominates(self, other: SearchCandidate) -> bool:
        """Whether it is at least as good in all three, and better in one."""
        mine, theirs = ((c.agreement, -c.bytes, -c.ms) for c in (self, other))
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


@dataclass(frozen=True)
class LayerError:
    """What leaving `layers` in float takes off int8's divergence from float, nats a pixel."""

    layers: tuple[str, ...]
    divergence: float


@dataclass(frozen=True)
class SearchRecord:
    """A search: its budget, the errors of pairs of layers, worst first, and its candidates.

    `min_agreement` is a share of pixels, 0..1; `max_miou_drop` is in points of 100, None for any.
    """

    min_agreement: float
    max_miou_drop: float | None
    errors: tuple[LayerError, ...]
    candidates: tuple[SearchCandidate, ...]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SearchRecord:
        """Read what `dataclasses.asdict` gave and JSON kept."""
        return cls(
            min_agreement=data["min_agreement"],
            max_miou_drop=data["max_miou_drop"],
            errors=tuple(
                LayerError(tuple(error["layers"]), error["divergence"]) for error in data["errors"]
            ),
            candidates=tuple(
                SearchCandidate(**entry | {"float_layers": tuple(entry["float_layers"])})
                for entry in data["candidates"]
            ),
        )
