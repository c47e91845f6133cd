"""Labels as output: the arg-max of the scores as the last step of a .tflite file.

Behind the conversion, not in the Keras model: the scores are then those of the file without it, to
the last bit, and so are the masks. On a tie the first class wins, in both runtimes and in
`unet_edge.runtime.argmax.to_labels`. See docs/decisions/037-labels-output.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS
from converters.tflite.edit import builtin_code, new_operator
from unet_edge.errors import ConversionError

#: What it adds. XNNPACK has no arg-max: both run behind its partition, by TFLite's own kernels.
OPERATORS = frozenset({"ARG_MAX", "CAST"})


def end_in_labels(model: Any) -> int:
    """End `model`, a `ModelT` of the TFLite schema, in labels, uint8 (1, H, W), in place.

    Returns the new output's tensor index. Raises ConversionError for scores of other types than
    float32, uint8 and int8.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds, operators = schema.TensorType, schema.BuiltinOperator
    (graph,) = model.subgraphs
    (target,) = graph.outputs
    last = next(op for op in graph.operators if target in op.outputs)
    quantises = schema.BuiltinOperator.QUANTIZE
    if builtin_code(model, last) == quantises and graph.tensors[target].type == kinds.UINT8:
        # It only re-labels int8 as uint8, which keeps the order.
        graph.operators.remove(last)
        target = last.inputs[0]
    # By op_version.cc in TensorFlow; a file asks for no newer version than it needs.
    version = {kinds.FLOAT32: 1, kinds.UINT8: 1, kinds.INT8: 2}.get(graph.tensors[target].type)
    if version is None:
        raise ConversionError(
            "labels are made of float32, uint8 or int8 scores only",
            fix="export without --labels",
        )
    axis = schema.BufferT()
    axis.data = np.frombuffer(np.array(3, "<i4").tobytes(), np.uint8)
    model.buffers.append(axis)

    def tensor(kind: int, shape: tuple[int, ...], name: str, buffer: int = 0) -> int:
        made = schema.TensorT()
        made.type, made.name, made.buffer = kind, name, buffer
        made.shape = np.array(shape, np.int32)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def append(operator: Any, kind: int, options: Any) -> None:
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        graph.operators.append(operator)

    height, width = graph.tensors[target].shape[1:3]
    indices = tensor(kinds.INT32, (1, height, width), "indices")
    constant = tensor(kinds.INT32, (), "axis", len(model.buffers) - 1)
    arg_max = schema.ArgMaxOptionsT()
    arg_max.outputType = kinds.INT32
    choice = schema.BuiltinOptions
    found = new_operator(model, operators.ARG_MAX, [target, constant], indices, version=version)
    append(found, choice.ArgMaxOptions, arg_max)
    labels = tensor(kinds.UINT8, (1, height, width), LABELS)
    append(
        new_operator(model, operators.CAST, [indices], labels),
        choice.CastOptions,
        schema.CastOptionsT(),
    )
    graph.outputs = np.array([labels], np.int32)
    return labels
