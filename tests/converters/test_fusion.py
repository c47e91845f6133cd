"""Nodes that compute an ONNX operator become that operator; similar nodes stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.fusion import fuse

X = np.random.default_rng(0).normal(0, 4, (1, 3, 8, 6)).astype(np.float32)


def graph(*nodes: tuple[str, str, str], **attributes: Any) -> Any:
    """A model with nodes of (kind, inputs, output); an input that is a number is a constant."""
    made, constants = [], {}
    for kind, inputs, output in nodes:
        for name in inputs.split():
            if name.replace(".", "").lstrip("-").isdigit():
                constants[name] = numpy_helper.from_array(np.array(float(name), np.float32), name)
        made.append(helper.make_node(kind, inputs.split(), [output]))
    made[-1].attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    shape = [1, 3, 1, 1] if made[-1].op_type == "ReduceMean" else list(X.shape)
    return helper.make_model(
        helper.make_graph(
            made,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            list(constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", 14)],
        ir_version=8,
    )


def kinds_and_result(model: Any) -> tuple[list[str], Any]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (result,) = session.run(None, {"x": X})
    return [node.op_type for node in model.graph.node], result


GATE = (("Add", "x 3", "a"), ("Clip", "a 0 6", "c"))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((*GATE, ("Mul", "c 0.16666667", "y")), ["HardSigmoid"]),
        ((*GATE, ("Mul", "c 0.16666667", "g"), ("Mul", "x g", "y")), ["HardSwish"]),
        (
            (("Add", "3 x", "a"), GATE[1], ("Mul", "0.16666667 c", "g"), ("Mul", "g x", "y")),
            ["HardSwish"],
        ),
        # The gate multiplies another tensor, as in squeeze and excitation.
        (
            (("Neg", "x", "n"), *GATE, ("Mul", "c 0.16666667", "g"), ("Mul", "n g", "y")),
            ["Neg", "HardSigmoid", "Mul"],
        ),
        # Another node reads the shifted value: it stays.
        (
            (*GATE, ("Mul", "c 0.16666667", "g"), ("Mul", "x g", "h"), ("Add", "a h", "y")),
            ["Add", "HardSwish", "Add"],
        ),
        # Another node reads the gate: hard-sigmoid stays.
        (
            (*GATE, ("Mul", "c 0.16666667", "g"), ("Mul", "x g", "h"), ("Add", "g h", "y")),
            ["HardSigmoid", "Mul", "Add"],
        ),
    ],
    ids=["sigmoid", "swish", "swapped", "gate", "shift-used", "gate-used"],
)
def test_hard_swish_and_its_gate_are_fused(nodes: Any, expected: list[str]) -> None:
    model = graph(*nodes)
    _, before = kinds_and_result(model)
    fuse(model)
    kinds, after = kinds_and_result(model)
    assert kinds == expected
    np.testing.assert_allclose(after, before, atol=1e-5)  # eps * 4 operators * values up to 20


@pytest.mark.parametrize(
    "nodes",
    [
        (("Add", "x 2", "a"), GATE[1], ("Mul", "c 0.16666667", "y")),
        (GATE[0], ("Clip", "a 0 5", "c"), ("Mul", "c 0.16666667", "y")),
        (GATE[0], ("Clip", "a -1 6", "c"), ("Mul", "c 0.16666667", "y")),
        (*GATE, ("Mul", "c 0.2", "y")),
        (*GATE, ("Mul", "c 0.16666667", "g"), ("Add", "g c", "y")),
        (("Mul", "x 3", "a"), GATE[1], ("Mul", "c 0.16666667", "y")),
        (("Clip", "x 0 6", "y"),),
    ],
    ids=["shift", "upper", "lower", "factor", "clip-used", "no-sum", "relu6"],
)
def test_similar_nodes_stay(nodes: Any) -> None:
    model = graph(*nodes)
    before = model.SerializeToString()
    fuse(model)
    assert model.SerializeToString() == before


def test_a_mean_over_height_and_width_is_global_pooling() -> None:
    model = graph(("ReduceMean", "x", "y"), axes=[2, 3], keepdims=1)
    _, before = kinds_and_result(model)
    fuse(model)
    kinds, after = kinds_and_result(model)
    assert kinds == ["GlobalAveragePool"]
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_mean_over_channels_stays() -> None:
    model = graph(("ReduceMean", "x", "y"), axes=[1], keepdims=1)
    fuse(model)
    assert [node.op_type for node in model.graph.node] == ["ReduceMean"]


def test_reshapes_to_the_same_shape_are_removed() -> None:
    shape = np.array(X.shape, np.int64)
    model = graph(("Relu", "x", "r"), ("Reshape", "r same", "s"), ("Relu", "s", "y"))
    model.graph.initializer.append(numpy_helper.from_array(shape, "same"))
    fuse(model)
    kinds, after = kinds_and_result(model)
    assert kinds == ["Relu", "Relu"]
    assert np.array_equal(after, np.maximum(X, 0))


def test_other_reshapes_stay() -> None:
    model = graph(("Reshape", "x other", "r"), ("Relu", "r", "s"), ("Reshape", "s back", "y"))
    for name, shape in (("other", (1, 3, 6, 8)), ("back", X.shape)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    fuse(model)
    kinds, _ = kinds_and_result(model)
    assert kinds == ["Reshape", "Relu", "Reshape"]
