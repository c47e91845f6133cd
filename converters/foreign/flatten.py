"""Flatten a Keras model: the calls of layers and operations, nested models opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import tree

from unet_edge.errors import ConversionError

# Classes that do nothing in inference; so do those whose names begin with "Random". A canonical
# model does not tell dtypes apart.
_IDENTITIES = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "AugMix",
        "AutoContrast",
        "Cast",
        "ConvertToTensor",
        "Copy",
        "CutMix",
        "Dropout",
        "Equalization",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "MixUp",
        "RandAugment",
        "SaturateCast",
        "Solarization",
        "SpatialDropout2D",
        "StopGradient",
    }
)


_PASSED_ON = keras.activations.linear


@dataclass(eq=False, frozen=True)
class Value:
    """A tensor of the model, with its symbolic shape (None: free) and dtype."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(eq=False, frozen=True)
class Call:
    """A call of a layer or of an operation of keras.ops; tensors in its arguments are Values."""

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Value, ...]

    @property
    def values(self) -> list[Value]:
        """The Values among the arguments, in order."""
        leaves = tree.flatten((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, Value)]

    @property
    def name(self) -> str:
        """The name of the layer or operation."""
        return str(self.operation.name)

    @property
    def kind(self) -> str:
        """The name of the class of the layer or operation."""
        return type(self.operation).__name__

    @property
    def does_nothing(self) -> bool:
        """Whether inference does without the call."""
        return self.kind in _IDENTITIES or self.kind.startswith("Random")


@dataclass(frozen=True)
class FlatModel:
    """The calls of a model in the order of computation, without nested models."""

    inputs: dict[str, Value]
    outputs: dict[str, Value]
    calls: tuple[Call, ...]

    def up_to(self, output: Value) -> tuple[Call, ...]:
        """The calls that `output` needs."""
        needed = {output}
        calls = []
        for call in reversed(self.calls):
            if needed.intersection(call.results):
                needed.update(call.values)
                calls.append(call)
        return tuple(reversed(calls))

    def made_by(self, value: Value) -> Call | None:
        """The call that gives `value`; None for an input."""
        return next((call for call in self.calls if value in call.results), None)

    def last_call(self, value: Value) -> Call | None:
        """The call that computes `value`; behind it, values are only reshaped or passed on."""
        call = self.made_by(value)
        while call is not None and (call.kind == "Reshape" or call.does_nothing or _linear(call)):
            call = self.made_by(call.values[0])
        return call


def _linear(call: Call) -> bool:
    """Whether a call is an Activation that passes its input on, as one in float32 at the end."""
    layer = call.operation
    return isinstance(layer, keras.layers.Activation) and layer.activation is _PASSED_ON


def flatten(model: keras.Model) -> FlatModel:
    """Flatten `model`. Raises ConversionError if its graph cannot be seen."""
    function = _graph(model)
    if function is None and isinstance(model, keras.Sequential):
        raise ConversionError(
            f"{model.name} was saved without the shape of its input",
            expected="expected a model that was called or trained once",
            fix="call model.build((None, None, None, 3)) and save it again",
        )
    if function is None:
        raise ConversionError(
            f"{model.name} is a subclass of keras.Model without a graph",
            expected="expected a functional or a sequential model",
            fix="call it on keras.Input(...), wrap the result in keras.Model, and save that",
        )
    flat = _Flattening()
    inputs = [Value(tuple(t.shape), str(t.dtype)) for t in function.inputs]
    outputs = flat.walk(function, inputs)
    return FlatModel(
        dict(zip(_names(function.inputs, "input"), inputs, strict=True)),
        dict(zip(function.output_names, outputs, strict=True)),
        tuple(flat.calls),
    )


@dataclass
class _Flattening:
    calls: list[Call] = field(default_factory=list)

    def walk(self, function: Any, inputs: list[Value]) -> list[Value]:
        """Add the calls of `function` on `inputs`; return its outputs."""
        known = dict(zip(map(id, function.inputs), inputs, strict=True))
        for node in _nodes(function):
            args, kwargs = tree.map_structure(
                lambda leaf: known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
                (tuple(node.arguments.args), dict(node.arguments.kwargs)),
            )
            results = self._call(node.operation, args, kwargs, node.outputs)
            known.update(zip(map(id, node.outputs), results, strict=True))
        return [known[id(tensor)] for tensor in function.outputs]

    def _call(self, operation: Any, args: Any, kwargs: Any, outputs: list[Any]) -> list[Value]:
        results = [Value(tuple(t.shape), str(t.dtype)) for t in outputs]
        call = Call(operation, args, kwargs, tuple(results))
        inner = _graph(operation)
        if inner is not None:
            return self.walk(inner, call.values)
        self.calls.append(call)
        return results


def _nodes(function: Any) -> Iterator[Any]:
    """The nodes of a functional model in the order of computation, without inputs."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def _graph(operation: Any) -> Any | None:
    """The functional graph of a model; None if it has none."""
    if isinstance(operation, keras.Sequential):
        if not operation.built:
            return None
        return operation._functional
    # Keras exports no name for the class of functional models.
    return operation if hasattr(operation, "_nodes_by_depth") else None


def _names(tensors: list[Any], fallback: str) -> list[str]:
    """Unique names of `tensors`."""
    names: list[str] = []
    for index, tensor in enumerate(tensors):
        name = str(tensor.name or fallback)
        names.append(name if name not in names else f"{name}_{index}")
    return names
