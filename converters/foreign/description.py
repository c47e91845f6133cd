"""Describe a model of other training code, and refuse what is no segmentation model of photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from unet_edge.errors import ConversionError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorDescription:
    """An input or output: its name, its shape with None for a free size, and its dtype."""

    name: str
    shape: Shape
    dtype: str

    def __str__(self) -> str:
        shape = ", ".join("any" if size is None else str(size) for size in self.shape[1:])
        return f"{self.name} ({shape}) {self.dtype}"


@dataclass(frozen=True)
class ModelDescription:
    """What a model is, as far as its graph says it.

    `output` is the name of the output that was chosen. `channels` is the number of scores of a
    pixel in it. `last_activation` is "softmax", "sigmoid", "linear" or another name of Keras.
    `size` is the (height, width) in px that the model takes, None if it is free. `layers` counts
    the layers of nested models too. `precision` is the dtype of the computation.
    """

    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    output: str
    channels: int
    last_activation: str
    layers: int
    parameters: int
    precision: str
    size: tuple[int, int] | None

    def lines(self) -> list[str]:
        """The description as lines of plain text."""
        size = "any" if self.size is None else f"{self.size[0]}x{self.size[1]} px"
        return [
            f"input: {', '.join(map(str, self.inputs))}",
            f"output: {', '.join(map(str, self.outputs))}",
            f"size: {size}",
            f"last activation: {self.last_activation}",
            f"layers: {self.layers}, parameters: {self.parameters:,}, {self.precision}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """The description as values that JSON can hold."""

        def tensors(values: tuple[TensorDescription, ...]) -> list[dict[str, Any]]:
            return [
                {"name": each.name, "shape": list(each.shape), "dtype": each.dtype}
                for each in values
            ]

        return {
            "inputs": tensors(self.inputs),
            "outputs": tensors(self.outputs),
            "output": self.output,
            "channels": self.channels,
            "last_activation": self.last_activation,
            "layers": self.layers,
            "parameters": self.parameters,
            "precision": self.precision,
            "size": None if self.size is None else list(self.size),
        }


def describe(model: keras.Model, output: str | None = None) -> ModelDescription:
    """Describe `model`, judged by its only output, or by the output or layer named `output`.

    Raises ConversionError, with the reason, for classifiers, detectors, several inputs, inputs
    that are no pictures of three channels, channels first, and outputs that are not one score for
    each pixel and class.
    """
    raise ConversionError("not written yet")
