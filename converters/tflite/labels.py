"""Labels as the output of a .tflite file: the arg-max of its scores.

The arg-max is added after the conversion, not to the Keras model. So scores and masks are those of
the file with scores, to the last bit. On a tie the first class wins, in both formats and in
`unet_edge.runtime.argmax.to_labels`. See docs/decisions/037-labels-output.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS
from converters.tflite.edit import builtin_code, new_operator
from unet_edge.errors import ConversionError

#: The added operators. XNNPACK has no arg-max, so TFLite's own kernels run both.
OPERATORS = frozenset({"ARG_MAX", "CAST"})


def end_in_labels(model: Any) -> int:
    """Replace the output of a `ModelT` of the TFLite schema by labels, uint8 (1, H, W), in place.

    Returns the tensor index of the labels. Raises ConversionError for scores that are not float32,
    uint8 or int8.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds, operators = schema.TensorType, schema.BuiltinOperator
    (graph,) = model.subgraphs
    (target,) = graph.outputs
    last = next(op for op in graph.operators if target in op.outputs)
    quantises = schema.BuiltinOperator.QUANTIZE
    if builtin_code(model, last) == quantises and graph.tensors[target].type == kinds.UINT8:
        # QUANTIZE from int8 to uint8 keeps the order of the scores.
        graph.operators.remove(last)
        target = last.inputs[0]
    # The lowest version for each type, from op_version.cc in TensorFlow.
    kind = graph.tensors[target].type
    version = {kinds.FLOAT32: 1, kinds.UINT8: 1, kinds.INT8: 2}.get(kind)
    if version is None:
        names = {value: name for name, value in vars(kinds).items() if name[0] != "_"}
        raise ConversionError(
            f"the scores are {names.get(kind, kind)}",
            expected="labels need float32, uint8 or int8 scores",
            fix="export without --labels",
        )
    axis = schema.BufferT()
    axis.data = np.frombuffer(np.array(3, "<i4").tobytes(), np.uint8)
    model.buffers.append(axis)

    def tensor(kind: int, shape: tuple[int, ...], name: str, buffer: int = 0) -> int:
        new = schema.TensorT()
        new.type, new.name, new.buffer = kind, name, buffer
        new.shape = np.array(shape, np.int32)
        graph.tensors.append(new)
        return len(graph.tensors) - 1

    def append(operator: Any, kind: int, options: Any) -> None:
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        graph.operators.append(operator)

    height, width = graph.tensors[target].shape[1:3]
    indices = tensor(kinds.INT32, (1, height, width), "indices")
    constant = tensor(kinds.INT32, (), "axis", len(model.buffers) - 1)
    options = schema.ArgMaxOptionsT()
    options.outputType = kinds.INT32
    option_types = schema.BuiltinOptions
    arg_max = new_operator(model, operators.ARG_MAX, [target, constant], indices, version=version)
    append(arg_max, option_types.ArgMaxOptions, options)
    labels = tensor(kinds.UINT8, (1, height, width), LABELS)
    cast = new_operator(model, operators.CAST, [indices], labels)
    append(cast, option_types.CastOptions, schema.CastOptionsT())
    graph.outputs = np.array([labels], np.int32)
    return labels
