"""float16 in TFLite: wide kernels are stored in 16 bits, and computed with in 32.

A DEQUANTIZE after each kernel makes it float32 when the file is loaded, as in TensorFlow's own
float16 files. Those round every constant. Here the first and the last kernel, depthwise kernels
and biases stay float32; they take few bytes. See docs/decisions/036-float16.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.tflite.edit import builtin_code, new_operator
from unet_edge.errors import ConversionError


def halve_kernels(model: Any) -> None:
    """Store the wide kernels of a float32 `ModelT` of the TFLite schema as float16, in place.

    Raises ConversionError for a weight beyond the largest float16, 65504.
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
                f"a weight of {abs(values).max():g} does not fit float16",
                expected="expected at most 65504",
                fix="export float32 instead: --formats tflite-float32",
            )
        stored = schema.BufferT()  # a new one, because equal constants may share a buffer
        stored.data = np.frombuffer(values.astype("<f2").tobytes(), np.uint8)
        model.buffers.append(stored)
        half = schema.TensorT()
        half.name, half.shape, half.type = full.name + b" in float16", full.shape, kinds.FLOAT16
        half.buffer = len(model.buffers) - 1
        graph.tensors.append(half)
        emptied.add(full.buffer)
        full.buffer = 0  # the empty buffer: the operator below computes the tensor
        # Version 3 is the first that supports float16 (op_version.cc in TensorFlow).
        operator = new_operator(
            model, operators.DEQUANTIZE, [len(graph.tensors) - 1], kernel, version=3
        )
        casts.append(operator)
    graph.operators = casts + graph.operators
    used = {tensor.buffer for tensor in graph.tensors}
    for index in emptied - used:
        model.buffers[index].data = None  # the float32 values
