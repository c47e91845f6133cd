"""The record of a search for a file within a budget, as a bundle keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unet_edge.model_files.embedded_contract import Precision


@dataclass(frozen=True)
class SearchCandidate:
    """A recipe that the search tried, and the figures of its file.

    `agreement` (0..1) is over all pictures, `worst` that of the worst picture. `miou_drop` is in
    points of mIoU against the true labels, below 0 for a gain. `ms` is the median time of an
    inference on the workstation, with the candidates measured in turns. `holds` says that the file
    is within the budget, `kept` that it is in the bundle. `pareto` says that no other file
    dominates it.
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
        """Whether it is at least as close, as small and as fast as `other`, and better in one."""
        figures, others = ((c.agreement, -c.bytes, -c.ms) for c in (self, other))
        return figures != others and all(a >= b for a, b in zip(figures, others, strict=True))


@dataclass(frozen=True)
class LayerError:
    """By how much `layers` in float reduce int8's divergence from float, nats a pixel."""

    layers: tuple[str, ...]
    divergence: float


@dataclass(frozen=True)
class SearchRecord:
    """A search: its budget, the errors of pairs of layers, worst first, and its candidates.

    `min_agreement` is 0..1. `max_miou_drop` is in points of mIoU, None for no limit.
    """

    min_agreement: float
    max_miou_drop: float | None
    errors: tuple[LayerError, ...]
    candidates: tuple[SearchCandidate, ...]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SearchRecord:
        """Read the result of `dataclasses.asdict` from JSON."""
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
