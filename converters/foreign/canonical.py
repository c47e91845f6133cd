"""Rewrite a model of other training code as a canonical model, which every converter takes.

A canonical model is flat, computes in float32, takes pixels and gives logits. Its layers are of
a small vocabulary. Each rewrite is proven on pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from converters.foreign.input_scaling import InputScaling
from unet_edge.errors import ConversionError
from unet_edge.spec import Normalisation


@dataclass(frozen=True)
class Rewrite:
    """A change of the graph, as a sentence, and the largest difference it made in the proof.

    The difference is that of the values at the place of the change, in their own unit.
    """

    what: str
    largest_difference: float


@dataclass(frozen=True)
class Canonical:
    """A canonical model with the contract's normalisation, and the rewrites that made it."""

    model: keras.Model
    normalisation: Normalisation
    rewrites: tuple[Rewrite, ...]


def canonicalise(
    model: keras.Model,
    scaling: InputScaling,
    *,
    size: tuple[int, int],
    classes: int,
    output: str | None = None,
) -> Canonical:
    """Rewrite `model`, which takes pixels as `scaling` says, for pictures of `size`.

    `size` is (height, width) in px. `output` names the output, or the layer, that holds the
    scores; None for a model with a single output. `model` is not changed.

    The result takes pixels, (N, H, W, 3), and gives logits, (N, H, W, classes). It takes other
    sizes, too, if its graph allows. A model with one sigmoid channel becomes one with two logits,
    0 and the channel's: class 1 is where the sigmoid is above 0.5, and ties are class 0.

    Raises ConversionError if the model is none that a device can run, or a rewrite changes its
    results, and ConfigError if `size` or `classes` do not fit it.
    """
    raise ConversionError("not written yet")
