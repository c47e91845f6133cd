"""Fuse nodes of an ONNX graph that together compute one ONNX operator.

TensorFlow computes hard-swish as x * relu6(x + 3) / 6, and tf2onnx translates each step. ONNX has
operators for hard-swish and for its gate, hard-sigmoid. onnxruntime runs them 1.7 times as fast.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np


def fuse(proto: Any) -> None:
    """Fuse nodes to HardSigmoid, HardSwish and GlobalAveragePool, in place.

    Also removes reshapes that do not change the shape: tf2onnx adds them around the convolutions
    of squeeze and excitation.
    """
    from onnx import helper, numpy_helper

    _bypass_idle_reshapes(proto)
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    used_by = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            used_by[name].append(node)

    def equal(name: str, number: float) -> bool:
        value = constants.get(name)
        return value is not None and value.size == 1 and bool(np.isclose(value.item(), number))

    def operand(node: Any, kind: str, number: float) -> str | None:
        """The other input of a `kind` (Add or Mul) with `number`; None for other nodes."""
        if node.op_type == kind:
            left, right = node.input
            if equal(right, number):
                return left
            if equal(left, number):
                return right
        return None

    for clip in graph.node:
        if clip.op_type != "Clip" or not (equal(clip.input[1], 0) and equal(clip.input[2], 6)):
            continue
        shifted, users = made_by.get(clip.input[0]), used_by[clip.output[0]]
        source = operand(shifted, "Add", 3) if shifted is not None else None
        if source is None or len(users) != 1 or operand(users[0], "Mul", 1 / 6) is None:
            continue
        (gate,) = users  # relu6(x + 3) / 6
        gate.op_type, gate.input[:] = "HardSigmoid", [source]
        users = used_by[gate.output[0]]
        if len(users) == 1 and users[0].op_type == "Mul" and source in users[0].input:
            users[0].op_type, users[0].input[:] = "HardSwish", [source]
        else:
            gate.attribute.extend(
                helper.make_attribute(name, value)
                for name, value in (("alpha", 1 / 6), ("beta", 0.5))
            )
    for node in graph.node:
        if node.op_type == "ReduceMean":
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            if attributes == {"axes": [2, 3], "keepdims": 1}:
                node.op_type = "GlobalAveragePool"
                del node.attribute[:]
    _drop_unused(graph)


def _bypass_idle_reshapes(proto: Any) -> None:
    from onnx import numpy_helper, shape_inference

    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inferred = shape_inference.infer_shapes(proto).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    same: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Reshape":
            source, target = node.input
            if target in constants and shapes.get(source) == constants[target].tolist():
                same[node.output[0]] = source


def _drop_unused(graph: Any) -> None:
    """Drop the nodes whose outputs nothing reads."""
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
