"""Small .onnx files made with the onnx library."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper


@pytest.fixture(scope="session")
def onnx_file() -> Callable[..., bytes]:
    """Makes an .onnx file of operators (name or domain.name), each from `pixels` to `logits`."""

    def make(*operators: str, opset: int | None = 14, ir_version: int = 7) -> bytes:
        nodes = [
            helper.make_node(name.rpartition(".")[2], ["pixels"], [f"{index}"])
            for index, name in enumerate(operators)
        ]
        for node, name in zip(nodes, operators, strict=True):
            node.domain = name.rpartition(".")[0]
        ends = [
            helper.make_tensor_value_info(name, kind, (1, 2, 2, 3))
            for name, kind in (("pixels", TensorProto.UINT8), ("logits", TensorProto.FLOAT))
        ]
        graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:])
        imports = [] if opset is None else [helper.make_opsetid("", opset)]
        model = onnx.ModelProto(ir_version=ir_version, graph=graph, opset_import=imports)
        return bytes(model.SerializeToString(deterministic=True))

    return make
