"""TFLite in float16: wide kernels stored in 16 bits, computed with in 32.

A DEQUANTIZE behind each kernel turns it into float32 when the file is loaded, as in the
converter's own float16 files. Those round every constant; here the few bytes of the first and the
last kernel, of depthwise kernels and of biases stay float32. See
docs/decisions/036-float16.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.tflite.edit import builtin_code, new_operator
from unet_edge.errors import ConversionError


def halve_kernels(model: Any) -> None:
    """Store the wide kernels of `model`, a float32 `ModelT` of the TFLite schema, as float16.

    In place. Raises ConversionError for a weight that float16 does not reach (65504).
    """
    from ai_edge_litert import schema_py_generated as schema

    operators, kinds = schema.BuiltinOperator, schema.TensorType
    (graph,) = model.subgraphs
    convolutions = [op for op in graph.operators if builtin_code(model, op) == operators.CONV_2D]
    casts, emptied = [], set()
    for kernel in dict.fromkeys(int(op.inputs[1]) for op in convolutions[1:-1]):
        full = graph.tensors[kernel]
        values = np.frombuffer(bytes(model.buffers[full.buffer].data), "<f4")
        if abs(values).max() > np.finfo(np.float16).max:
            raise ConversionError(
                f"a weight of {abs(values).max():g} does not fit float16, which ends at 65504",
                fix="export without it: --formats tflite-float32",
            )
        stored = schema.BufferT()  # of its own: equal constants may share one
        stored.data = np.frombuffer(values.astype("<f2").tobytes(), np.uint8)
        model.buffers.append(stored)
        half = schema.TensorT()
        half.name, half.shape, half.type = full.name + b" in float16", full.shape, kinds.FLOAT16
        half.buffer = len(model.buffers) - 1
        graph.tensors.append(half)
        emptied.add(full.buffer)
        full.buffer = 0  # empty: the operator below computes it
        # Version 3 is the first that reads float16 (op_version.cc in TensorFlow).
        operator = new_operator(
            model, operators.DEQUANTIZE, [len(graph.tensors) - 1], kernel, version=3
        )
        casts.append(operator)
    graph.operators = casts + graph.operators
    used = {tensor.buffer for tensor in graph.tensors}
    for index in emptied - used:
        model.buffers[index].data = None  # the float32 values
