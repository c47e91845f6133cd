"""The steps of a canonical graph while it is being rewritten: layers with weights and inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from unet_edge.spec import Normalisation
from unet_edge.training.models import NORMALISE

Weights = NDArray[Any]

PIXELS = "pixels"
SCALE_INPUT = "scale_input"
"""The 1x1 convolution behind the normalisation that scales each channel."""

# Configuration that concerns training elsewhere, or that Keras gives by default.
_DROPPED = re.compile(
    "(name|dtype|trainable|activation|build_config|synchronized|renorm.*|activity_regularizer|"
    ".*_(initializer|regularizer|constraint)|autocast|lora_.*|batch_.*shape|data_format|"
    "quantization_config)"
)

_INITIALIZERS = {
    layers.Conv2D: "kernel_initializer",
    layers.Conv2DTranspose: "kernel_initializer",
    layers.DepthwiseConv2D: "depthwise_initializer",
}


@dataclass(eq=False)
class Step:
    """A layer of the canonical graph.

    `shape` is that of its output without the batch. A vector (N, C) of the foreign model is a map
    of 1x1 here.
    """

    kind: type[keras.Layer]
    name: str
    config: dict[str, Any]
    weights: list[Weights]
    inputs: list[Step]
    shape: tuple[int, ...]

    def layer(self, name: str, dtype: str) -> keras.Layer:
        """Make the layer, without its weights."""
        config = dict(self.config)
        if dtype != "float32" and self.kind in _INITIALIZERS:
            # For a proof only: random numbers would take longer than the computation.
            config[_INITIALIZERS[self.kind]] = "zeros"
        return self.kind(name=name, dtype=dtype, **config)


@dataclass
class Steps:
    """The steps that were made, in the order of computation."""

    size: tuple[int, int]
    made: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pixels = Step(layers.InputLayer, PIXELS, {}, [], [], (*self.size, 3))

    def add(
        self,
        kind: type[keras.Layer],
        name: str,
        inputs: Sequence[Step],
        weights: Sequence[Any] = (),
        **config: Any,
    ) -> Step:
        """Add a step. Raises ValueError if its inputs do not fit together."""
        step = Step(
            kind,
            name,
            config,
            [np.asarray(weight, np.float32) for weight in weights],
            list(inputs),
            (),
        )
        shapes = [(1, *each.shape) for each in inputs]
        # Keras itself sees maps of different sizes only when it joins them.
        if kind is layers.Concatenate and len({shape[:-1] for shape in shapes}) > 1:
            raise ValueError(f"{name} joins maps of {', '.join(str(s[1:3]) for s in shapes)} px")
        layer = step.layer(name, "float32")
        shape = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
        step.shape = tuple(shape[1:])
        if not all(side and side > 0 for side in step.shape):
            raise ValueError(f"the output of {name} would have no pixels")
        self.made.append(step)
        return step

    def copy(self, layer: keras.Layer, name: str, inputs: Sequence[Step], **changed: Any) -> Step:
        """Add the step of a layer of the vocabulary, without its activation."""
        config = {**kept_config(layer), **changed}
        return self.add(type(layer), name, inputs, layer.get_weights(), **config)

    def affine(self, name: str, source: Step, scale: Any, offset: Any) -> Step:
        """Add scale * x + offset, with a number for each channel, as a depthwise convolution."""
        channels = source.shape[-1]
        kernel = np.broadcast_to(np.asarray(scale, np.float64), (channels,))
        bias = np.broadcast_to(np.asarray(offset, np.float64), (channels,))
        return self.add(
            layers.DepthwiseConv2D,
            name,
            [source],
            [kernel.reshape(1, 1, channels, 1), bias],
            kernel_size=1,
        )

    def readers(self, step: Step) -> list[Step]:
        """The steps that read `step`."""
        return [each for each in self.made if step in each.inputs]

    def needed_for(self, output: Step) -> list[Step]:
        """The steps that `output` needs, in the order of computation, without the pixels."""
        order: list[Step] = []
        seen: set[int] = {id(self.pixels)}
        waiting = [(output, False)]
        while waiting:
            step, done = waiting.pop()
            if done:
                order.append(step)
            elif id(step) not in seen:
                seen.add(id(step))
                waiting.append((step, True))
                waiting.extend((each, False) for each in reversed(step.inputs))
        return order


def kept_config(layer: keras.Layer) -> dict[str, Any]:
    """The configuration of a layer of Keras that its computation in inference depends on."""
    config: dict[str, Any] = {
        key: value for key, value in layer.get_config().items() if not _DROPPED.fullmatch(key)
    }
    return config


def normalise_step(steps: Steps, normalisation: Normalisation) -> Step:
    """Add the first layer of a canonical model."""
    scale = 1.0 / normalisation.std
    offset = -normalisation.mean / normalisation.std
    return steps.add(layers.Rescaling, NORMALISE, [steps.pixels], scale=scale, offset=offset)


def free_size(steps: Sequence[Step]) -> bool:
    """Whether the graph means the same at every size that its strides divide."""
    for step in steps:
        if step.kind in (layers.Reshape, layers.Resizing):
            return False
        if step.kind in (layers.AveragePooling2D, layers.MaxPooling2D):
            pool = step.config["pool_size"]
            sides = (pool, pool) if isinstance(pool, int) else tuple(pool)
            whole = step.inputs[0].shape[:2]
            if any(side >= length > 1 for side, length in zip(sides, whole, strict=True)):
                return False  # pools the complete map, whose size is in the graph
        if step.kind is layers.PReLU and math.prod(step.weights[0].shape[:-1]) > 1:
            return False  # a slope for each pixel
    return True


def build(
    steps: Steps, output: Step, name: str, *, dtype: str = "float32", free: bool = False
) -> keras.Model:
    """Build the model that gives `output`; the same steps give the same names."""
    height, width = steps.size
    shape = (None, None, 3) if free else (height, width, 3)
    pixels = keras.Input(shape, name=PIXELS, dtype=dtype)
    tensors = {id(steps.pixels): pixels}
    order = steps.needed_for(output)
    weights: list[tuple[keras.Layer, list[Weights]]] = []
    for step, unique in zip(order, unique_names(order), strict=True):
        layer = step.layer(unique, dtype)
        inputs = [tensors[id(each)] for each in step.inputs]
        # Keras' Resizing counts as in training unless told, and so would every BatchNorm behind it.
        mode = {"training": False} if step.kind is layers.Resizing else {}
        tensors[id(step)] = layer(inputs if len(inputs) > 1 else inputs[0], **mode)
        weights.append((layer, step.weights))
    model = keras.Model(pixels, tensors[id(output)], name=name)
    for layer, values in weights:
        if values:
            layer.set_weights(values)
    return model


def unique_names(order: Sequence[Step]) -> list[str]:
    """A plain name for each step: letters, digits and underscores, none twice."""
    taken = {PIXELS}
    names = []
    for step in order:
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", step.name).strip("_") or "layer"
        reserved = step.kind is not layers.Rescaling and plain == NORMALISE
        name, number = f"{plain}_2" if reserved else plain, 2
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names
