"""The translation of a foreign model: steps for its Values, activations, merges and reshapes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from converters.foreign.flatten import Call, Value
from converters.foreign.pixel_scale import PixelChannel, PixelScale
from converters.foreign.steps import SCALE_INPUT, Step, Steps, normalise_step
from unet_edge.errors import ConversionError
from unet_edge.spec import Normalisation

Source = Step | PixelScale | PixelChannel
"""What stands for a Value: a step, or pixels that are only scaled so far."""

ACTIVATIONS = frozenset(
    {
        "elu",
        "exponential",
        "gelu",
        "hard_sigmoid",
        "hard_silu",
        "log_sigmoid",
        "mish",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "tanh",
    }
)
"""Activations that stay one layer; softmax only until the model's end is rewritten."""

ACTIVATION = "activations became layers of their own"
SEPARABLE = "separable convolutions became a depthwise and a 1x1 convolution"
DENSE = "dense layers became 1x1 convolutions"
OPERATION = "operations became layers"
CONSTANT = "constants became 1x1 depthwise convolutions"
VECTOR = "vectors became maps of 1x1"


class UnknownLayerError(ConversionError):
    """A layer or operation that is not in the vocabulary."""

    def __init__(self, call: Call, why: str = "") -> None:
        shapes = ", ".join(str(value.shape) for value in call.values)
        super().__init__(
            f"the layer {call.name!r} ({call.kind} of {shapes or 'nothing'}) "
            f"{why or 'has no counterpart on the device'}",
            expected="expected convolutions, poolings, resizings, sums and usual activations",
            fix="replace it in the model, and train or fine-tune again",
        )


@dataclass
class Translation:
    """The steps of a foreign model, the Values they stand for, and the rewritten calls."""

    steps: Steps
    sources: dict[Value, Source] = field(default_factory=dict)
    rewritten: dict[Call, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    scaled_in_model: list[str] = field(default_factory=list)
    scale_input: tuple[PixelScale, Step] | None = None
    _counts: Counter[str] = field(default_factory=Counter)

    def step(self, value: Value) -> Step:
        """The step of a Value; pixels that are only scaled get the 1x1 convolution for it."""
        source = self.sources[value]
        if isinstance(source, Step):
            return source
        if isinstance(source, PixelChannel):
            raise ConversionError(
                "the model reads single channels of the picture",
                expected="expected the three channels together",
                fix="put them together, in the order of --color-order, in front of everything else",
            )
        if self.scale_input is None:
            normal = normalise_step(self.steps, Normalisation())
            weights = source.convolution(Normalisation.mean, Normalisation.std)
            step = self.steps.add(
                layers.Conv2D, SCALE_INPUT, [normal], weights, filters=3, kernel_size=1
            )
            self.scale_input = (source, step)
        if self.scale_input[0] != source:
            raise ConversionError(
                "the model reads its input twice, with two scalings",
                expected="expected one scaling of the input",
                fix="scale the input once, in front of everything else",
            )
        return self.scale_input[1]

    def name(self, call: Call) -> str:
        """The call's name, with its number counted anew if Keras gave it.

        Keras counts all layers of a process, and the number would be part of the exported bytes.
        """
        base = _snake(call.kind)
        if not re.fullmatch(rf"{re.escape(base)}(_\d+)?", call.name):
            return call.name
        number = self._counts[base]
        self._counts[base] += 1
        return f"{base}_{number}" if number else base

    def activate(self, name: str, source: Step, activation: Any, call: Call) -> Step:
        """Add the step of an activation: a function of Keras, or a layer."""
        if isinstance(activation, keras.Layer):
            step = self.activation_layer(activation, name, source, call)
            if step is None:
                raise UnknownLayerError(call, f"has the activation {activation.name}")
            return step
        kind = activation_name(activation)
        match kind:
            case "linear":
                return source
            case "relu":
                return self.steps.add(layers.ReLU, name, [source])
            case "relu6":
                return self.steps.add(layers.ReLU, name, [source], max_value=6.0)
            case "leaky_relu":  # the slope of keras.activations.leaky_relu
                return self.steps.add(layers.LeakyReLU, name, [source], negative_slope=0.2)
            case _ if kind in ACTIVATIONS:
                return self.steps.add(layers.Activation, name, [source], activation=kind)
            case _:
                raise UnknownLayerError(call, f"has the activation {kind}")

    def activation_layer(
        self, layer: keras.Layer, name: str, source: Step, call: Call
    ) -> Step | None:
        """Add the step of an activation's layer; None if `layer` is none."""
        match layer:
            case layers.Activation():
                return self.activate(name, source, layer.activation, call)
            case layers.ReLU():
                return self.relu(
                    name, source, layer.max_value, layer.negative_slope, layer.threshold, call
                )
            case layers.ELU() if layer.alpha == 1:
                return self.steps.add(layers.Activation, name, [source], activation="elu")
            case layers.Softmax() if layer.axis in (-1, 3):
                return self.steps.add(layers.Activation, name, [source], activation="softmax")
            case layers.LeakyReLU() | layers.PReLU():
                return self.steps.copy(layer, name, [source])
            case _:
                return None

    def relu(
        self, name: str, source: Step, most: Any, slope: Any, threshold: Any, call: Call
    ) -> Step:
        """Add the step of a ReLU with its three numbers."""
        slope = float(slope or 0)
        if threshold or (most not in (None, 6)) or (most and slope):
            raise UnknownLayerError(
                call, f"cuts at {threshold} and {most}, with the slope {slope:g} below"
            )
        if slope:
            return self.steps.add(layers.LeakyReLU, name, [source], negative_slope=slope)
        if most is None:
            return self.steps.add(layers.ReLU, name, [source])
        return self.steps.add(layers.ReLU, name, [source], max_value=6.0)

    def affine(self, call: Call, value: Value, scale: Any, offset: Any) -> Source:
        """Scale a Value and add an offset: in the input's scaling, or as a step."""
        source = self.sources[value]
        if isinstance(source, PixelScale):
            self.scaled_in_model.append(call.name)
            scaled = source.times(scale, offset)
            if not scaled.keeps_channels:
                raise UnknownLayerError(
                    call, "scales a channel of the picture by 0, or by no finite number"
                )
            return scaled
        step = self.step(value)
        channels = step.shape[-1]
        if any(
            np.size(each) != 1 and np.shape(each) != (*[1] * (np.ndim(each) - 1), channels)
            for each in (scale, offset)
        ):
            raise UnknownLayerError(call, "has a constant that is not one number for each channel")
        self.rewritten[call] = CONSTANT
        return self.steps.affine(self.name(call), step, np.ravel(scale), np.ravel(offset))


def activation_name(function: Any) -> str:
    """The name that Keras gives to an activation."""
    name = getattr(function, "__name__", None) or getattr(function, "name", "unknown")
    return str(name)


def merge(
    to: Translation, call: Call, kind: type[keras.Layer], name: str, sources: Sequence[Step]
) -> Step:
    """Add the step of a sum, product or the like of maps."""
    ranks = {len(value.shape) for value in call.values}
    require(call, ranks in ({2}, {4}), "joins vectors with maps")
    return to.steps.add(kind, name, sources)


def concatenate(
    to: Translation, call: Call, name: str, sources: Sequence[Step], channels: bool
) -> Step:
    """Add the step of a concatenation; `channels` says whether it is along the channels."""
    require(call, channels, "joins maps along another axis than the channels")
    if len(sources) == 1:
        return sources[0]
    ranks = {len(value.shape) for value in call.values}
    require(call, ranks in ({2}, {4}), "joins vectors with maps")
    return to.steps.add(layers.Concatenate, name, sources)


def resize(to: Translation, call: Call, name: str, source: Step, size: tuple[int, int]) -> Step:
    """Add the step of a resizing to `size`."""
    resizing = call.operation
    odd = [
        setting
        for setting in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
        if getattr(resizing, setting)
    ]
    require(call, not odd, f"has {', '.join(odd)}")
    kind = resizing.interpolation
    require(call, kind in ("nearest", "bilinear"), f"has the interpolation {kind}")
    height, width = size
    return to.steps.add(
        layers.Resizing, name, [source], height=height, width=width, interpolation=kind
    )


def reshape(to: Translation, call: Call, name: str, source: Step) -> Step:
    """Add the step of a reshape; between vectors and maps of 1x1 there is nothing to do."""
    sides = list(call.results[0].shape[1:])
    if None in sides:  # free in the foreign model, or left to Keras
        known = math.prod(side for side in sides if side is not None)
        require(call, sides.count(None) == 1 and known > 0, "has a free shape")
        sides[sides.index(None)] = math.prod(source.shape) // known
    shape = tuple(sides)
    if shape == source.shape or (*source.shape[:-1], *shape) == (1, 1, source.shape[-1]):
        return source
    require(call, len(shape) > 1, f"makes {shape} of {source.shape}")
    return to.steps.add(layers.Reshape, name, [source], target_shape=shape)


def require(call: Call, condition: bool, otherwise: str) -> None:
    """Raise UnknownLayerError that says `otherwise`, unless the condition holds."""
    if not condition:
        raise UnknownLayerError(call, otherwise)


def short_name(activation: Any) -> str:
    """What the name of an activation's layer ends with."""
    return re.sub(r"\W|_\d+$", "", activation_name(activation)) or "activation"


def _snake(name: str) -> str:
    """The name of a class as Keras writes it in the names of layers."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
