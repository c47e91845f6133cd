"""Rewrite a model of other training code as a canonical model, which every converter takes.

A canonical model is flat, computes in float32, takes pixels and gives logits. Its layers are of
a small vocabulary. Each rewrite is proven on pictures.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.foreign.description import chosen_output, describe
from converters.foreign.flatten import Call, FlatModel, Value, flatten
from converters.foreign.input_folding import fold_input
from converters.foreign.input_scaling import InputScaling
from converters.foreign.layer_translation import translate_layer
from converters.foreign.operation_translation import translate_operation
from converters.foreign.pixel_scale import PixelScale
from converters.foreign.proof import Proof, check, probe, run, sentences
from converters.foreign.scores import Scores, rewrite_scores, without_activation
from converters.foreign.steps import Step, Steps, build, free_size
from converters.foreign.translation import Translation, UnknownLayerError
from converters.freeze import reason
from unet_edge.errors import ConfigError, ConversionError
from unet_edge.spec import Normalisation

_MOST_VALUES = 2**27  # in double precision 1 GiB; a VGG U-Net has half of it at 1024x1024 px


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
    described = describe(model, output)
    if described.size is None:
        _check_sides(model, size)
    flat = flatten(model)
    _, value = chosen_output(flat, output)
    translation = _translated(flat, value, scaling, size, described.size)
    end = translation.step(value)
    _check_memory(translation.steps)
    pixels = probe(size)
    scaled = PixelScale.of(scaling).of_pixels(pixels)
    proof = Proof(flat, value, translation, scaled)
    scores = rewrite_scores(translation.steps, end, classes=classes)
    assert translation.scale_input is not None  # every output depends on the pixels
    if scores.step is translation.scale_input[1]:
        raise ConversionError(
            "the model gives its own input back",
            expected="expected layers between the pixels and the scores",
            fix="name the layer that gives the scores with --output-name",
        )
    normalisation, folded = fold_input(translation.steps, *translation.scale_input, scores.step)
    order = translation.steps.needed_for(scores.step)
    _check_vocabulary(order)
    free = _free(flat, value, scaling, described.size or size)
    if not free and described.size not in (None, size):
        raise _only(described.size)
    result = build(translation.steps, scores.step, "imported", free=free)
    difference = _prove(translation, scores, result, proof, pixels)
    if described.precision == "float32" and output is None and described.size in (None, size):
        _check_opening(model, proof, scaled, difference)
    whole = [*_removed(translation), *_shared(flat, value), *folded, *scores.sentences]
    if described.precision != "float32":
        whole.insert(0, f"layers that computed in {described.precision} compute in float32")
    rewrites = [
        *sentences(proof),
        *((sentence, difference.found) for sentence in whole),
        ("the complete model, in float32", difference.float32),
    ]
    return Canonical(
        result, normalisation, tuple(Rewrite(what, largest) for what, largest in rewrites)
    )


@dataclass(frozen=True)
class _Difference:
    """The largest differences of logits."""

    found: float  # of the two models in double precision
    float32: float  # of the canonical model in float32 to the foreign one in double precision
    rounding: float  # of the canonical model in float32 to itself in double precision


def _prove(
    translation: Translation,
    scores: Scores,
    result: keras.Model,
    proof: Proof,
    pixels: NDArray[np.uint8],
) -> _Difference:
    """Compare the canonical model with the foreign one in double precision."""
    double = build(translation.steps, scores.step, "double", dtype="float64")
    made, right = run(double, pixels), scores.expected(proof.logits)
    found = check(made, right, "the scaling of the input, or the scores at the end")
    single = run(result, pixels)
    # Rounding grows with depth as the model itself makes it grow: it is measured, not guessed.
    rounding = float(np.abs(single - made).max())
    return _Difference(found, float(np.abs(single - right).max()), rounding)


def _check_opening(
    model: keras.Model, proof: Proof, scaled: NDArray[np.float64], difference: _Difference
) -> None:
    """Raise ConversionError if the calls of the nested models give another output than `model`."""
    given = keras.ops.convert_to_numpy(model(scaled.astype(np.float32), training=False))
    # Both round in another order, each by about `rounding`. 32 times that is no error of order
    # or border, which changes logits by a part of themselves.
    check(given, proof.output, "opening nested models", rounding=32 * difference.rounding)


def _check_sides(model: keras.Model, size: tuple[int, int]) -> None:
    """Raise ConfigError if a side of `size` is not the one that the model's input has."""
    sides = model.inputs[0].shape[1:3]
    if len(sides) == 2 and any(
        own not in (None, given) for own, given in zip(sides, size, strict=True)
    ):
        wanted = "x".join("any" if own is None else str(own) for own in sides)
        example = "x".join(str(own or given) for own, given in zip(sides, size, strict=True))
        raise ConfigError(
            f"the size is {size[0]}x{size[1]} px",
            expected=f"the model takes pictures of {wanted} px (height x width)",
            fix=f"choose --size {example}",
        )


def _check_memory(steps: Steps) -> None:
    """Raise ConfigError for maps that no device and no proof has the memory for."""
    largest = max(steps.made, key=lambda step: math.prod(step.shape))
    if (values := math.prod(largest.shape)) > _MOST_VALUES:
        height, width = steps.size
        raise ConfigError(
            f"the layer {largest.name!r} gives {values:,} values for a picture of "
            f"{height}x{width} px",
            expected=f"at most {_MOST_VALUES:,}, which take 1 GiB in the proof",
            fix="choose a smaller --size, or save the model with a smaller input",
        )


def _translated(
    flat: FlatModel,
    output: Value,
    scaling: InputScaling,
    size: tuple[int, int],
    own: tuple[int, int] | None,
) -> Translation:
    """Translate the model for one size. Raises ConfigError that names sizes that would fit."""
    try:
        return translate(flat, output, scaling, size)
    except ValueError as error:
        fitting = _multiple(flat, output, scaling, size)
        if fitting is not None:
            rounded = "x".join(str(_round_up(length, fitting)) for length in size)
            raise ConfigError(
                f"the model does not take pictures of {size[0]}x{size[1]} px",
                expected=f"height and width must be multiples of {fitting}",
                fix=f"choose --size {rounded}",
            ) from error
        if own not in (None, size):
            raise _only(own) from error
        raise ConversionError(
            f"the model's layers do not fit together at {size[0]}x{size[1]} px: {reason(error)}"
        ) from error


def _only(own: tuple[int, int]) -> ConfigError:
    text = "x".join(map(str, own))
    return ConfigError(
        f"the model takes pictures of {text} px only, because its layers hold sizes",
        fix=f"choose --size {text}",
    )


def _multiple(
    flat: FlatModel, output: Value, scaling: InputScaling, size: tuple[int, int]
) -> int | None:
    """The smallest power of 2 whose multiples the model takes."""
    for power in range(1, 9):
        step = 2**power
        try:
            translate(flat, output, scaling, (_round_up(size[0], step), _round_up(size[1], step)))
        except ValueError:
            continue
        return step
    return None


def _free(flat: FlatModel, output: Value, scaling: InputScaling, own: tuple[int, int]) -> bool:
    """Whether the graph, which was made for pictures of `own` px, means the same at others."""
    translation = translate(flat, output, scaling, own)
    scores, _, _ = without_activation(translation.step(output))
    return free_size(translation.steps.needed_for(scores))


def _round_up(length: int, step: int) -> int:
    return -(-length // step) * step


def translate(
    flat: FlatModel, output: Value, scaling: InputScaling, size: tuple[int, int]
) -> Translation:
    """Translate the calls that `output` needs. Raises ValueError if shapes do not fit."""
    translation = Translation(Steps(size))
    (pixels,) = flat.inputs.values()
    translation.sources[pixels] = PixelScale.of(scaling)
    for call in flat.up_to(output):
        if call.does_nothing:
            translation.sources[call.results[0]] = translation.sources[call.values[0]]
            if isinstance(call.operation, keras.Layer):
                translation.removed.append(call.name)
        elif len(call.results) != 1 or not call.values:
            raise UnknownLayerError(call)
        elif isinstance(call.operation, keras.Layer):
            translation.sources[call.results[0]] = translate_layer(translation, call)
        else:
            translation.sources[call.results[0]] = translate_operation(translation, call)
    translation.step(output)
    return translation


def _removed(translation: Translation) -> list[str]:
    """Sentences on layers that inference does without and on scalings inside the model."""
    found = []
    if names := translation.removed:
        found.append(f"layers that do nothing in inference were removed: {', '.join(names)}")
    if names := translation.scaled_in_model:
        found.append(f"scalings at the model's start joined the input's: {', '.join(names)}")
    return found


def _shared(flat: FlatModel, output: Value) -> list[str]:
    """A sentence on layers with weights that are called several times."""
    counts = Counter(call.operation for call in flat.up_to(output) if _has_weights(call))
    names = [layer.name for layer, count in counts.items() if count > 1]
    return [f"layers that are used several times became copies: {', '.join(names)}"] * bool(names)


def _has_weights(call: Call) -> bool:
    return isinstance(call.operation, keras.Layer) and bool(call.operation.weights)


def _check_vocabulary(order: list[Step]) -> None:
    for step in order:
        softmax = step.kind is layers.Activation and step.config["activation"] == "softmax"
        if softmax or len(step.shape) != 3:
            raise ConversionError(
                f"the layer {step.name!r} inside the model "
                + ("is a softmax" if softmax else f"gives {step.shape}, which is no map"),
                expected="expected a softmax at the end only, and maps everywhere",
                fix="name the layer in front of it with --output-name, if that gives the scores",
            )
