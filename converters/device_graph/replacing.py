"""Layers that the converters do not take as Keras computes them, replaced by ones they do."""

from __future__ import annotations

import keras
from keras import layers

from converters.device_graph.graph import Graph, Node
from converters.device_graph.layers import Gelu, GroupedConv2D


def group_in_one_operator(graph: Graph) -> bool:
    """Let convolutions of several groups become one operator."""
    changed = False
    for node in graph.nodes():
        if isinstance(node.layer, layers.Conv2D) and node.layer.groups > 1:
            node.layer = GroupedConv2D.from_config(node.layer.get_config())
            changed = True
    return changed


def spell_out_gelu(graph: Graph) -> bool:
    """Compute GELU by the error function."""
    changed = False
    for node in graph.nodes():
        layer = node.layer
        if isinstance(layer, layers.Activation) and layer.activation is keras.activations.gelu:
            graph.replace(node, Node(Gelu(name=layer.name), node.inputs))
            changed = True
    return changed
