"""A Keras model as an editable graph: layers with their weights, and what each one reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Weights = list[NDArray[np.float32]]


class Node:
    """A layer of a graph, not yet called, with its weights and the nodes that it reads.

    `channels`: of its output; those of its first input unless given.
    """

    def __init__(
        self,
        layer: keras.Layer,
        inputs: Sequence[Node],
        weights: Sequence[Any] = (),
        *,
        channels: int | None = None,
    ) -> None:
        self.layer = layer
        self.inputs = list(inputs)
        self.channels: int = inputs[0].channels if channels is None else channels
        self.weights: Weights = [np.asarray(array, np.float32) for array in weights]

    def reads(self, kind: type[keras.Layer]) -> bool:
        """Whether its first input is a layer of `kind`."""
        return bool(self.inputs) and isinstance(self.inputs[0].layer, kind)

    def changed(self, weights: Sequence[Any] | None = None, **settings: Any) -> Node:
        """A copy that reads the same, with other settings of the layer or other weights."""
        layer = type(self.layer).from_config({**self.layer.get_config(), **settings})
        weights = self.weights if weights is None else weights
        return Node(layer, self.inputs, weights, channels=self.channels)


class Graph:
    """The graph of a functional model with one input and one output, for rewriting.

    The model itself never changes: nodes hold copies of its layers.
    """

    def __init__(self, model: keras.Model) -> None:
        self._name = model.name
        by_tensor: dict[int, Node] = {}
        for layer in model.layers:
            copy = type(layer).from_config(layer.get_config())
            inputs = [] if isinstance(layer, keras.layers.InputLayer) else _as_list(layer.input)
            by_tensor[id(layer.output)] = Node(
                copy,
                [by_tensor[id(tensor)] for tensor in inputs],
                layer.get_weights(),
                channels=layer.output.shape[-1],
            )
        self._input = by_tensor[id(model.inputs[0])]
        self.output = by_tensor[id(model.outputs[0])]

    def nodes(self) -> list[Node]:
        """The nodes that the output needs, each after those it reads."""
        ordered: dict[Node, None] = {}
        waiting = [self.output]
        while waiting:
            node = waiting[-1]
            missing = [source for source in reversed(node.inputs) if source not in ordered]
            if missing:
                waiting += missing
            else:
                ordered[node] = None
                waiting.pop()
        return list(ordered)

    def readers(self, node: Node) -> list[Node]:
        """The nodes that read this one."""
        return [reader for reader in self.nodes() if node in reader.inputs]

    def only_reader(self, node: Node) -> Node | None:
        """The one node that reads this one; None for several, and for the output."""
        readers = self.readers(node)
        return readers[0] if len(readers) == 1 and node is not self.output else None

    def replace(self, old: Node, new: Node) -> None:
        """Let all that reads `old` read `new` instead; `new` itself may read `old`."""
        for reader in self.nodes():
            if reader is not new:
                reader.inputs = [new if source is old else source for source in reader.inputs]
        if self.output is old:
            self.output = new

    def model(self) -> keras.Model:
        """A model of the graph. Call it once: it calls the nodes' layers."""
        tensors: dict[Node, Any] = {}
        nodes = self.nodes()
        _make_names_unique([node.layer for node in nodes])
        for node in nodes:
            if node is self._input:
                shape = node.layer.batch_shape[1:]
                tensors[node] = keras.Input(shape, name=node.layer.name, dtype=node.layer.dtype)
                continue
            inputs = [tensors[source] for source in node.inputs]
            tensors[node] = node.layer(inputs if len(inputs) > 1 else inputs[0])
            if node.weights:
                node.layer.set_weights(node.weights)
        return keras.Model(tensors[self._input], tensors[self.output], name=self._name)


def _make_names_unique(layers: list[keras.Layer]) -> None:
    """Rename layers whose name an earlier one has: a rule may have taken one of the model's."""
    names: set[str] = set()
    for layer in layers:
        name, number = layer.name, 1
        while layer.name in names:
            number += 1
            layer.name = f"{name}_{number}"
        names.add(layer.name)


def _as_list(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]
