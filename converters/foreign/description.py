"""Describe a model of other training code, and refuse what is no segmentation model of photos."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras

from converters.foreign.flatten import Call, FlatModel, Value, flatten
from converters.foreign.translation import activation_name
from unet_edge.errors import ConversionError
from unet_edge.system.counting import counted

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

    `output` is the name of the output that was chosen; `outputs` has it, too, if it is the output
    of a layer inside. `channels` is the number of scores of a pixel in it. `last_activation` is
    "softmax", "sigmoid", "linear" or another name of Keras.
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
    flat = flatten(model)
    size = _input_size(flat)
    name, value = chosen_output(flat, output)
    channels = _channels(flat, name, value)
    calls = flat.up_to(value)
    first = next((call for call in calls if _channels_first(call)), None)
    if first is not None:
        raise ConversionError(
            f"the layer {first.name!r} takes the channels first",
            expected="expected the channels last, as every file for the device takes them",
            fix="build the model with data_format='channels_last' and load its weights",
        )
    weighted = [call for call in calls if isinstance(call.operation, keras.Layer)]
    return ModelDescription(
        inputs=_tensors(flat.inputs),
        outputs=_tensors({**flat.outputs, name: value}),
        output=name,
        channels=channels,
        last_activation=last_activation(flat, value),
        layers=len({id(call.operation) for call in weighted}),
        parameters=model.count_params(),
        precision=_precision([call.operation for call in weighted]),
        size=size,
    )


def chosen_output(flat: FlatModel, output: str | None) -> tuple[str, Value]:
    """The name and the Value of an output, or of the layer's output, named `output`."""
    names = ", ".join(flat.outputs)
    if output is None:
        if len(flat.outputs) > 1:
            raise ConversionError(
                f"the model has {len(flat.outputs)} outputs: {names}",
                expected="expected one, the scores of each pixel",
                fix=f"choose one, as with --output-name {next(iter(flat.outputs))}; a detector, "
                "whose outputs are boxes, is not supported",
            )
        return next(iter(flat.outputs.items()))
    if output in flat.outputs:
        return output, flat.outputs[output]
    for call in reversed(flat.calls):
        if call.name == output and len(call.results) == 1:
            return output, call.results[0]
    raise ConversionError(
        f"the model has no output and no layer named {output!r}",
        fix=f"choose one of {names}, or a layer of its summary",
    )


def last_activation(flat: FlatModel, output: Value) -> str:
    """The name of the activation that `output` went through last; "linear" if none."""
    call = flat.last_call(output)
    if call is None:
        return "linear"
    operation = call.operation
    if isinstance(operation, keras.Layer) and hasattr(operation, "activation"):
        return activation_name(operation.activation)
    return {"Softmax": "softmax", "Sigmoid": "sigmoid", "ReLU": "relu", "Relu": "relu"}.get(
        call.kind, "linear"
    )


def _input_size(flat: FlatModel) -> tuple[int, int] | None:
    """The (height, width) that the input has, None if one of them is free."""
    if len(flat.inputs) != 1:
        raise ConversionError(
            f"the model has {len(flat.inputs)} inputs: {', '.join(flat.inputs)}",
            expected="expected one, a picture",
            fix="save a model whose only input is the picture",
        )
    (shape,) = (value.shape for value in flat.inputs.values())
    if len(shape) == 4 and shape[3] == 3:
        height, width = shape[1:3]
        return None if height is None or width is None else (height, width)
    text = str(shape)
    if len(shape) == 4 and shape[1] == 3:
        raise ConversionError(
            f"the model's input is {text}, with the channels first",
            expected="expected (None, height, width, 3), as every file for the device takes it",
            fix="build the model with data_format='channels_last' and load its weights",
        )
    if len(shape) == 4 and shape[3] is not None:
        raise ConversionError(
            f"the model's input is {text}, pictures of {counted(shape[3], 'channel')}",
            expected="expected 3, the colours of a photo",
            fix="train it on RGB pictures; greyscale ones can be repeated three times",
        )
    raise ConversionError(
        f"the model's input is {text}",
        expected="expected a picture, (None, height, width, 3)",
        fix="unet-edge takes models that segment photos",
    )


def _channels(flat: FlatModel, name: str, value: Value) -> int:
    """The number of scores of each pixel in an output."""
    shape = value.shape
    text = f"the output {name} is {shape}"
    expected = "expected a score for each pixel and class, (None, height, width, classes)"
    if len(shape) == 2:
        raise ConversionError(
            f"{text}, scores of a complete picture: a classifier",
            expected=expected,
            fix="only models that segment can be imported; its encoder may serve to train one",
        )
    if value.dtype.startswith(("int", "uint", "bool")):
        raise ConversionError(
            f"{text} of {value.dtype}, labels instead of scores",
            expected=expected,
            fix="name the layer in front of the arg-max with --output-name",
        )
    channels = shape[-1]
    if len(shape) == 3 and channels is not None and _map_before(flat, value):
        return channels
    if len(shape) == 3:
        raise ConversionError(
            f"{text}, without height and width",
            expected=expected,
            fix="name the last layer that gives a map with --output-name",
        )
    if len(shape) != 4 or channels is None:
        raise ConversionError(
            text, expected=expected, fix="name the layer that gives such a map with --output-name"
        )
    return channels


def _map_before(flat: FlatModel, value: Value) -> bool:
    """Whether a last Reshape makes `value`, (N, H * W, C), of a map with C channels."""
    call = flat.made_by(value)
    while call is not None and call.kind != "Reshape" and len(call.values) == 1:
        if len(call.values[0].shape) != 3:
            return False
        call = flat.made_by(call.values[0])
    if call is None or call.kind != "Reshape":
        return False
    before = call.values[0].shape
    return len(before) == 4 and before[-1] == value.shape[-1]


def _channels_first(call: Call) -> bool:
    return getattr(call.operation, "data_format", None) == "channels_first"


def _tensors(values: dict[str, Value]) -> tuple[TensorDescription, ...]:
    return tuple(
        TensorDescription(name, value.shape, value.dtype) for name, value in values.items()
    )


def _precision(operations: list[Any]) -> str:
    """The dtype in which most layers compute."""
    dtypes = Counter(str(layer.compute_dtype) for layer in operations if layer.weights)
    return dtypes.most_common(1)[0][0] if dtypes else "float32"
