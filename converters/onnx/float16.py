"""ONNX in float16: kernels stored in 16 bits, computed with in 32.

onnxruntime folds a Cast of a constant when it loads a file (its basic optimisations), so that the
network runs as in float32 from half the bytes. Arithmetic in float16 is for GPUs: a CPU converts
at every operator that has no such kernel, and most have none. See
docs/decisions/036-float16.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unet_edge.errors import ConversionError


def halve_kernels(proto: Any) -> None:
    """Store the wide kernels of `proto`, float32, as float16, in place, a Cast to float32 behind.

    The first, the last and depthwise kernels and biases stay float32: they are 2 % of the default
    network. Raises ConversionError for a weight that float16 does not reach (65504).
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
                f"a weight of {abs(kernel).max():g} does not fit float16, which ends at 65504",
                fix="export without it: --formats onnx-float32",
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
