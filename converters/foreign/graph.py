"""Build a model from the configuration in a file, without Keras' deserialisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras

from converters.foreign.graph_references import (
    Node,
    Reference,
    parse_ends,
    parse_node,
    resolved,
)
from converters.foreign.layer_building import (
    WeightBudget,
    attempt,
    build_layer,
    input_layer,
    required_class,
)
from converters.foreign.layer_rules import MODELS, clean_name
from converters.foreign.operations import is_operation, keras_operation, tensorflow_operation
from converters.foreign.refusal import OPEN, REBUILD, Refusal

_MOST_LAYERS = 5000
_MOST_NESTED = 10


def build_model(entry: dict[str, Any], weights: int, *, keras_2: bool) -> keras.Model:
    """Build a functional or sequential model; its weights are zeros.

    `entry` is the model's configuration as Keras 2 or 3 writes it, with `class_name` and `config`.
    `weights` is the number of values in the file. `keras_2` says that Keras 2 wrote the file.
    Layers that change nothing outside training (dropout, augmentation) become Dropout of rate 0.

    Raises Refusal for layers, functions and settings that are not Keras' own.
    """
    return _Builder(WeightBudget(weights), keras_2).model(entry, "the model", 0)


_Call = Callable[..., Any]


@dataclass
class _Graph:
    """What is built of one functional model."""

    calls: dict[str, _Call] = field(default_factory=dict)
    outputs: dict[str, list[list[Any]]] = field(default_factory=dict)

    def tensor(self, layer: str, call: int, tensor: int) -> Any:
        """The tensor of a reference. Raises IndexError if it is not computed yet, Refusal."""
        if layer not in self.outputs:
            raise Refusal(f"is damaged: its graph refers to {layer!r}, which is not a layer")
        if call < 0 or tensor < 0:
            raise Refusal(f"is damaged: its graph refers to call {call} of {layer!r}")
        return self.outputs[layer][call][tensor]


class _Builder:
    def __init__(self, budget: WeightBudget, keras_2: bool) -> None:
        self._budget = budget
        self._keras_2 = keras_2
        self._shared: dict[int, Any] = {}
        self._count = 0

    def model(
        self, entry: dict[str, Any], where: str, depth: int, name: str = "model"
    ) -> keras.Model:
        kind, config = entry.get("class_name"), entry.get("config")
        if not isinstance(kind, str):
            raise Refusal(f"is damaged: {where} has no class")
        registered = entry.get("registered_name") or kind
        if kind not in MODELS or registered != kind:
            raise Refusal(
                f"is not read: {where} is of the class {str(registered)[:80]!r}, "
                "which is not Keras' own: its layers are not in the file",
                OPEN,
            )
        if depth > _MOST_NESTED:
            raise Refusal(f"is not read: models nest more than {_MOST_NESTED} levels")
        if kind == "Sequential":
            return self._sequential(config, where, depth, name)
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            raise Refusal(
                f"is not read: {where} is a subclass of keras.Model, whose graph is not in the "
                "file",
                OPEN,
            )
        return self._functional(config, where, depth)

    def _functional(self, config: dict[str, Any], where: str, depth: int) -> keras.Model:
        graph = _Graph()
        waiting: list[tuple[str, Node]] = []
        for entry in config["layers"]:
            name, nodes = self._add(graph, entry, depth)
            waiting += [(name, node) for node in nodes]
        while waiting:
            later: list[tuple[str, Node]] = []
            held: set[str] = set()  # a layer's calls keep their order: references count them
            for name, node in waiting:
                if name in held or not self._call(graph, name, node):
                    later.append((name, node))
                    held.add(name)
            if len(later) == len(waiting):
                raise Refusal(
                    f"is damaged: {waiting[0][0]!r} waits for tensors that no layer computes"
                )
            waiting = later

        def end(reference: Reference) -> Any:
            first = self._first_call(graph.calls.get(reference.layer), of_node=False)
            return _at_end(graph, reference, first)

        ends = [
            _mapped(parse_ends(config.get(key), key), end)
            for key in ("input_layers", "output_layers")
        ]
        name = clean_name(config.get("name") or "model")
        return attempt(where, lambda: keras.Model(*ends, name=name))

    def _first_call(self, layer: _Call | None, *, of_node: bool) -> int:
        """The number of a layer's first call: 1 for some nested models, see `graph_references`."""
        if not isinstance(layer, keras.Model):
            return 0
        return int(self._keras_2 or not (of_node or isinstance(layer, keras.Sequential)))

    def _add(self, graph: _Graph, entry: Any, depth: int) -> tuple[str, list[Node]]:
        """Build a layer into a graph; return its name and its calls."""
        if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict | list):
            raise Refusal(f"is damaged: {str(entry)[:80]!r} is not a layer")
        config = entry["config"]
        inner = config.get("name") if isinstance(config, dict) else None
        name = clean_name(entry.get("name") or inner)
        if name in graph.outputs:
            raise Refusal(f"is damaged: two layers have the name {name!r}")
        graph.outputs[name] = []
        if entry.get("class_name") == "InputLayer":
            required_class(entry, f"layer {name!r}")
            graph.outputs[name].append([input_layer(config, name).output])
            return name, []
        graph.calls[name] = self._operation(entry, name) or self._layer(entry, name, depth)
        nodes = entry.get("inbound_nodes")
        if not isinstance(nodes, list) or len(nodes) > _MOST_LAYERS:
            raise Refusal(f"is damaged: layer {name!r} says nothing of its inputs")
        return name, [parse_node(node, f"layer {name!r}") for node in nodes if node]

    def _call(self, graph: _Graph, name: str, node: Node) -> bool:
        """Call a layer if its inputs are there. Raises Refusal."""

        def tensor(layer: str, call: int, index: int) -> Any:
            first = self._first_call(graph.calls.get(layer), of_node=True)
            return graph.tensor(layer, call - first, index)

        try:
            args = resolved(node.args, tensor)
            kwargs = resolved(node.kwargs, tensor)
        except IndexError:
            return False
        self._budget.layer = name
        if isinstance(graph.calls[name], keras.layers.Layer):
            self._require_inference(kwargs, name)
            kwargs = {}
        _require_symbolic([args, kwargs], name)
        result = attempt(f"layer {name!r}", lambda: graph.calls[name](*args, **kwargs))
        outputs = keras.tree.flatten(result)
        graph.outputs[name].append(outputs)
        if not isinstance(graph.calls[name], keras.layers.Layer):
            for output in outputs:
                # Keras numbers operations anew, and its name may be that of a layer in the file.
                output._keras_history.operation.name = name
        return True

    def _require_inference(self, kwargs: dict[str, Any], name: str) -> None:
        """Raise Refusal for arguments of a layer's call that change its output."""
        # Keras 3 puts its own `training` in the place of the call's, Keras 2 does not.
        if self._keras_2 and kwargs.get("training") is True:
            raise Refusal(
                f"is not read: layer {name!r} is called as in training, where its output depends "
                "on the other pictures of the batch, or on chance",
                REBUILD,
            )
        # A nested model of several inputs is called with as many masks, each of them None.
        unknown = [
            key
            for key, value in kwargs.items()
            if key != "training" and any(leaf is not None for leaf in keras.tree.flatten(value))
        ]
        if unknown:
            raise Refusal(f"is not read: layer {name!r} is called with {unknown[0]!r}", REBUILD)

    def _sequential(self, config: Any, where: str, depth: int, name: str) -> keras.Model:
        # Before Keras 2.2.3 the configuration was the list of layers.
        entries = config.get("layers") if isinstance(config, dict) else config
        if not isinstance(entries, list) or not entries:
            raise Refusal(f"is damaged: {where} has no layers")
        name = clean_name((isinstance(config, dict) and config.get("name")) or name)
        model = keras.Sequential(name=name)
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
                raise Refusal(f"is damaged: {str(entry)[:80]!r} is not a layer")
            settings = entry["config"]
            name = clean_name(settings.get("name"))
            if entry.get("class_name") == "InputLayer":
                required_class(entry, f"layer {name!r}")
                attempt(f"layer {name!r}", partial(model.add, input_layer(settings, name)))
                continue
            first = settings.get("batch_input_shape")
            if index == 0 and first is not None:
                attempt(
                    f"layer {name!r}",
                    partial(model.add, input_layer({"batch_shape": first}, f"{name}_input")),
                )
            layer = self._layer(entry, name, depth)
            self._budget.layer = name
            attempt(f"layer {name!r}", partial(model.add, layer))
        return model

    def _operation(self, entry: dict[str, Any], name: str) -> _Call | None:
        """The function of an operation without weights; None for a layer."""
        kind, config, where = entry.get("class_name"), entry["config"], f"layer {name!r}"
        if not isinstance(kind, str) or not isinstance(config, dict):
            return None
        if kind == "TFOpLambda":
            return tensorflow_operation(config, where)
        if is_operation(kind, entry.get("module"), config):
            return keras_operation(kind, config, where)
        return None

    def _layer(self, entry: dict[str, Any], name: str, depth: int) -> Any:
        self._count += 1
        if self._count > _MOST_LAYERS:
            raise Refusal(f"is not read: it has more than {_MOST_LAYERS:,} layers")
        shared = entry.get("shared_object_id")
        if isinstance(shared, int) and shared in self._shared:
            return self._shared[shared]
        layer = self._new_layer(entry, name, depth)
        if isinstance(shared, int):
            self._shared[shared] = layer
        return layer

    def _new_layer(self, entry: dict[str, Any], name: str, depth: int) -> Any:
        where = f"layer {name!r}"
        kind = required_class(entry, where)
        if kind in MODELS:
            return self.model(entry, where, depth + 1, name)
        return build_layer(kind, entry["config"], name, self._budget, keras_2=self._keras_2)


def _require_symbolic(arguments: Any, name: str) -> None:
    """Raise Refusal for a call on constants alone, which would compute at once."""
    if not any(isinstance(item, keras.KerasTensor) for item in keras.tree.flatten(arguments)):
        raise Refusal(f"is damaged: layer {name!r} is called without a tensor")


def _at_end(graph: _Graph, reference: Reference, first_call: int) -> Any:
    call = reference.call - first_call
    try:
        return graph.tensor(reference.layer, call, reference.tensor)
    except IndexError:
        raise Refusal(
            f"is damaged: the model's end refers to call {call} of {reference.layer!r}"
        ) from None


def _mapped(ends: Any, function: Callable[[Reference], Any]) -> Any:
    if isinstance(ends, Reference):
        return function(ends)
    if isinstance(ends, dict):
        return {key: _mapped(item, function) for key, item in ends.items()}
    return [_mapped(item, function) for item in ends]
