"""float16 in ONNX: kernels are stored in 16 bits, and computed with in 32.

onnxruntime folds a Cast of a constant when it loads a file (basic optimisations). The network then
runs as in float32, from half the bytes. Arithmetic in float16 is for GPUs: most operators have no
such kernel for CPUs, so a CPU would convert between them. See docs/decisions/036-float16.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unet_edge.errors import ConversionError


def halve_kernels(proto: Any) -> None:
    """Store the wide kernels of a float32 `proto` as float16, each with a Cast after it, in place.

    The first and the last kernel, depthwise kernels and biases stay float32; they are 2 % of the
    default network. Raises ConversionError for a weight beyond the largest float16, 65504.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    wide = {node.input[1] for node in convolutions[1:-1] if not _is_depthwise(node)}
    casts = {}
    for tensor in graph.initializer:
        if tensor.name not in wide:
            continue
        kernel = numpy_helper.to_array(tensor)
        if abs(kernel).max() > np.finfo(np.float16).max:
            raise ConversionError(
                f"a weight of {abs(kernel).max():g} does not fit float16",
                expected="expected at most 65504",
                fix="export float32 instead: --formats onnx-float32",
            )
        stored = f"{tensor.name} in float16"
        casts[tensor.name] = helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT)
        tensor.CopyFrom(numpy_helper.from_array(kernel.astype(np.float16), stored))
    nodes = []
    for node in graph.node:
        if node.op_type == "Conv" and (cast := casts.pop(node.input[1], None)) is not None:
            nodes.append(cast)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_depthwise(convolution: Any) -> bool:
    return any(each.name == "group" and each.i > 1 for each in convolution.attribute)
