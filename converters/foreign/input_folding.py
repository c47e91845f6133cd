"""Choose a foreign model's normalisation and fold the rest of its input's scaling."""

from __future__ import annotations

import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.foreign.pixel_scale import PixelScale
from converters.foreign.steps import SCALE_INPUT, Step, Steps
from unet_edge.spec import Normalisation

Array = NDArray[np.float64]


def fold_input(
    steps: Steps, scale: PixelScale, scale_input: Step, output: Step
) -> tuple[Normalisation, list[str]]:
    """Fold the 1x1 convolution `scale_input` into the first convolutions, or keep it.

    The values at its place are `scale` of the pixels. The steps are changed in place, but not
    those that `output` does not need. Returns the contract's normalisation and sentences on what
    was rewritten.

    Borders decide. A convolution pads its input with 0. That is the normalised mean, which must
    stay what it was in the foreign model. So an offset is folded only where nothing is padded.
    """
    mean = scale.mean()
    factors = {np.float32(each) for each in scale.scale}
    # One factor for all channels is the contract's. Otherwise 128, with which int8 is exact.
    std = 1 / scale.scale[0] if len(factors) == 1 and min(factors) > 0 else Normalisation.std
    normalisation = Normalisation(Normalisation.mean if mean is None else float(mean), std)
    if mean is None:
        normalisation = Normalisation()
    (normal,) = scale_input.inputs
    normal.config["scale"] = 1.0 / normalisation.std
    normal.config["offset"] = -normalisation.mean / normalisation.std
    multipliers, terms = scale.after(normalisation.mean, normalisation.std)
    if mean is not None:
        terms = np.zeros(3)  # but for rounding
    in_order = scale.order == (0, 1, 2)
    if in_order and not terms.any() and np.allclose(multipliers, 1, rtol=2**-22, atol=0):
        _bypass(steps, scale_input, normal)
        return normalisation, []
    needed = {id(step) for step in steps.needed_for(output)}
    convolutions = _convolutions(steps, scale_input, needed, offset=bool(terms.any()))
    if convolutions is None:
        kernel, bias = scale.convolution(normalisation.mean, normalisation.std)
        scale_input.weights = [kernel.astype(np.float32), bias.astype(np.float32)]
        return normalisation, [
            "the scaling of the input stays a 1x1 convolution, because borders are padded with "
            f"a value that no pixel has: {SCALE_INPUT}"
            if terms.any()
            else f"the scaling of the input stays a 1x1 convolution: {SCALE_INPUT}"
        ]
    for step in convolutions:
        _fold(step, scale.order, multipliers, terms)
    _bypass(steps, scale_input, normal)
    what = "order of the colours" if np.allclose(multipliers, 1) else "scaling of the input"
    return normalisation, [
        f"the {what} was folded into the first convolution: "
        + ", ".join(step.name for step in convolutions)
    ]


def _bypass(steps: Steps, removed: Step, instead: Step) -> None:
    for step in steps.made:
        step.inputs = [instead if each is removed else each for each in step.inputs]


def _convolutions(
    steps: Steps, source: Step, needed: set[int], *, offset: bool
) -> list[Step] | None:
    """The convolutions that read `source`, through padding too; None if anything else does."""
    found: list[Step] = []
    for step in steps.readers(source):
        if id(step) not in needed:
            continue
        if step.kind is layers.ZeroPadding2D and not offset:
            inner = _convolutions(steps, step, needed, offset=offset)
            if inner is None:
                return None
            found.extend(inner)
        elif _is_full(step) and not (offset and _pads(step)):
            found.append(step)
        else:
            return None
    return found or None


def _is_full(step: Step) -> bool:
    return step.kind is layers.Conv2D and step.config.get("groups", 1) == 1


def _pads(step: Step) -> bool:
    """Whether a convolution may pad its input."""
    return step.config["padding"] == "same" and tuple(step.config["kernel_size"]) != (1, 1)


def _fold(step: Step, order: tuple[int, int, int], factors: Array, terms: Array) -> None:
    """Let a convolution read normalised pixels, in the order red, green, blue."""
    kernel = step.weights[0].astype(np.float64)  # (height, width, in, out)
    folded = np.zeros_like(kernel)
    for channel, source in enumerate(order):
        folded[:, :, source] += factors[channel] * kernel[:, :, channel]
    step.weights[0] = folded.astype(np.float32)
    if terms.any():
        bias = np.einsum("hwio,i->o", kernel, terms)
        if step.config["use_bias"]:
            bias += step.weights[1]
        step.config["use_bias"] = True
        step.weights[1:] = [bias.astype(np.float32)]
