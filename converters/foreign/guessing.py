"""Score the candidate input contracts of a foreign model on pictures with masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from converters.foreign.import_model import OpenedModel, canonical_of, contract
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import (
    COLOR_ORDERS,
    INPUT_RANGES,
    ColorOrder,
    InputRange,
    InputScaling,
)
from unet_edge.dataset import Dataset, Sample
from unet_edge.errors import ConversionError, DataError
from unet_edge.images.placement import Pixels, Placement, resize_labels
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.argmax import to_labels
from unet_edge.spec import ModelSpec

Key = tuple[InputRange, ColorOrder]
"""A candidate: a named range and a colour order."""

LEAST_LEAD = 0.01
"""The least mIoU by which the best candidate leads, 0..1. A contract that is wrong in its range
loses tens of points; one point is about what two roundings of the right contract differ by."""

CONFIDENCE = 0.99
"""The share of redrawn sets of pictures in which the best candidate must lead every other."""

LEAST_PICTURES = 4
"""With fewer pictures, redrawing them says nothing."""

_DRAWS = 1000


@dataclass(frozen=True)
class Candidate:
    """An input contract: a named range and a colour order, with its mIoU (0..1)."""

    range: InputRange
    color_order: ColorOrder
    miou: float


@dataclass(frozen=True)
class Guess:
    """The candidates, the best first, over `pictures` pictures.

    `lead` is the mIoU of the best minus that of the second, 0..1. `confidence` is the share of
    redrawn sets of pictures in which the best leads every other. `constant` is the mIoU of a mask
    that shows the most frequent class everywhere. `doubt` says why the best is not clearly best,
    None if it is.
    """

    candidates: tuple[Candidate, ...]
    pictures: int
    lead: float
    confidence: float
    constant: float
    doubt: str | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @property
    def best(self) -> Candidate:
        """The candidate of the highest mIoU."""
        return self.candidates[0]


def candidates(
    input_range: InputRange | None, color_order: ColorOrder | None
) -> dict[Key, InputScaling]:
    """The candidate contracts; a range or order that is given is the only one."""
    ranges = INPUT_RANGES if input_range is None else (input_range,)
    orders = COLOR_ORDERS if color_order is None else (color_order,)
    return {(name, order): InputScaling.named(name, order) for name in ranges for order in orders}


def guess_contract(
    opened: OpenedModel,
    settings: ImportSettings,
    dataset: Dataset,
    samples: Iterable[Sample],
    contracts: dict[Key, InputScaling],
) -> Guess:
    """Score every candidate on the same pictures, at their own size.

    Raises DataError for too few pictures, and for masks that do not fit.
    """
    # Of the contract 0..255 in RGB: its input is what the foreign model takes.
    unscaled = dataclasses.replace(settings, scaling=InputScaling.named("0..255"))
    canonical = canonical_of(opened, unscaled)
    spec = contract(opened, canonical, unscaled)
    return score_contracts(canonical.model, spec, dataset, samples, contracts)


def with_guess(settings: ImportSettings, best: Candidate) -> ImportSettings:
    """The settings with the contract of a candidate."""
    return dataclasses.replace(
        settings,
        scaling=InputScaling.named(best.range, best.color_order),
        range_name=best.range,
        assumed=tuple(each for each in settings.assumed if not each.startswith("--color-order")),
    )


def score_contracts(
    plain: keras.Model,
    spec: ModelSpec,
    dataset: Dataset,
    samples: Iterable[Sample],
    contracts: dict[Key, InputScaling],
) -> Guess:
    """Score every candidate with `plain`, which takes scaled pixels, (1, H, W, 3)."""
    classes = dataset.classes
    counts: dict[Key, list[NDArray[np.int64]]] = {key: [] for key in contracts}
    for sample in samples:
        photo, truth = dataset.read_for(sample, spec)
        placement = Placement.plan(photo.size, spec)
        pixels = placement.place(photo.picture)
        for key, scaling in contracts.items():
            scores = np.asarray(plain.predict_on_batch(scaled(pixels, scaling)[None]))[0]
            grid = to_labels(scores[placement.box])
            labels = resize_labels(grid, photo.size[1], photo.size[0])
            counts[key].append(Confusion.of(truth, labels, classes).counts)
    if (pictures := len(next(iter(counts.values())))) < LEAST_PICTURES:
        raise DataError(
            f"--guess has {pictures} pictures with masks",
            expected=f"it needs at least {LEAST_PICTURES}",
            fix="add pictures with masks, or give --input-range",
        )
    return judge({key: np.stack(each) for key, each in counts.items()})


def scaled(pixels: Pixels, scaling: InputScaling) -> NDArray[np.float32]:
    """Pixels, uint8 (H, W, 3) in RGB, as the foreign model takes them."""
    values = (pixels - np.asarray(scaling.mean)) / np.asarray(scaling.std)
    return np.asarray(values[..., ::-1] if scaling.color_order == "bgr" else values, np.float32)


def judge(counts: dict[Key, NDArray[np.int64]]) -> Guess:
    """Compare the candidates by their confusion counts, (pictures, classes, classes) each."""
    mious = {key: Confusion(each.sum(axis=0)).miou for key, each in counts.items()}
    if any(np.isnan(miou) for miou in mious.values()):
        raise DataError("every pixel of every true mask is ignored: nothing can be compared")
    order = sorted(mious, key=lambda key: -mious[key])  # ties keep the order of the candidates
    ranked = tuple(Candidate(*key, mious[key]) for key in order)
    first = counts[order[0]]
    lead = ranked[0].miou - ranked[1].miou if len(ranked) > 1 else 1.0
    confidence = _confidence([counts[key] for key in order])
    truth = first.sum(axis=(0, 2))
    constant = np.zeros_like(first[0])
    constant[:, truth.argmax()] = truth
    floor = Confusion(constant).miou
    return Guess(
        ranked, len(first), lead, confidence, floor, _doubt(ranked, lead, confidence, floor)
    )


def _confidence(ranked: Sequence[NDArray[np.int64]]) -> float:
    """The share of draws of the pictures, with replacement, in which the first leads every other.

    The paired bootstrap (Efron and Tibshirani 1993).
    """
    pictures = len(ranked[0])
    draws = np.random.default_rng(0).integers(pictures, size=(_DRAWS, pictures))
    leads = 0
    for draw in draws:
        first, *others = (Confusion(each[draw].sum(axis=0)).miou for each in ranked)
        leads += all(first > other for other in others)
    return leads / _DRAWS


def _doubt(
    ranked: Sequence[Candidate], lead: float, confidence: float, constant: float
) -> str | None:
    best = ranked[0]
    if best.miou <= constant:
        return (
            f"even the best candidate, mIoU {best.miou:.4f}, is no better than a mask of one class "
            f"everywhere, {constant:.4f}: check the order of --classes, --masks and --size"
        )
    if len(ranked) == 1:
        return None
    second = ranked[1]
    if lead >= LEAST_LEAD and confidence >= CONFIDENCE:
        return None
    text = (
        f"{best.range} {best.color_order} leads {second.range} {second.color_order} by "
        f"{100 * lead:.2f} points of mIoU, and in {confidence:.1%} of redrawn sets of pictures"
    )
    if lead == 0 and best.range == second.range:
        text += "; grey pictures do not tell the colour orders apart"
    return text


def require_guess(guess: Guess) -> Candidate:
    """The best candidate. Raises ConversionError unless it is clearly best."""
    if guess.doubt is None:
        return guess.best
    raise ConversionError(
        f"no contract is clearly best: {guess.doubt}",
        expected=f"a lead of at least {100 * LEAST_LEAD:g} point and in {CONFIDENCE:.0%} of "
        "redrawn sets",
        fix="look into the code that trained the model, and give --input-range and --color-order",
    )
