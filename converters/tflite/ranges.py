"""Limit what a calibrated graph asks of int8: multipliers, and ranges that a ReLU cuts off.

A BatchNorm divides by sqrt(variance + epsilon). A channel that never fired in training has no
variance, so its factor may be 10,000 times that of the others, and one step of its input may be
more than the whole range of its output. XNNPACK refuses multipliers of 256 and more, and a bias
in such large steps is rounded to 0.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.tflite.edit import builtin_code

LIMIT = 1.0
"""The largest multiplier: output steps for one step of a sum of products of up to 127 * 127 each.

Such a channel still leaves the output's 255 steps at once, but no longer for the rounding error of
an input.
"""


def prepare_ranges(calibrated: bytes, in_float: Collection[str]) -> bytes:
    """Limit the multipliers and the ranges of sums of a calibrated graph.

    `calibrated`: a float .tflite file with the range of each tensor. `in_float`: names of the
    tensors that operators write which stay in float, and have no multiplier. Returns the same
    bytes if there is nothing to limit.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(calibrated, 0)
    changed = [_limit_sums(model), _limit_multipliers(model, in_float)]
    if not any(changed):
        return calibrated
    builder = flatbuffers.Builder(len(calibrated) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _limit_sums(model: Any) -> bool:
    """Cut the ranges of the two operands of an addition with ReLU; returns whether any changed.

    If one operand is below minus the largest value of the other, their sum is below 0.
    """
    from ai_edge_litert import schema_py_generated as schema

    operators, activations = schema.BuiltinOperator, schema.ActivationFunctionType
    # What these write has the range of what they read.
    passing = (operators.DEPTH_TO_SPACE, operators.STRIDED_SLICE, operators.SLICE)
    (graph,) = model.subgraphs
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    reads = Counter(index for operator in graph.operators for index in operator.inputs)
    changed = False
    for operator in graph.operators:
        if builtin_code(model, operator) != operators.ADD:
            continue
        activation = operator.builtinOptions.fusedActivationFunction
        if activation not in (activations.RELU, activations.RELU6):
            continue
        if any(index not in makers for index in operator.inputs):
            continue  # a constant
        first, second = operator.inputs
        for index, other in ((first, second), (second, first)):
            lowest = np.float32(min(0.0, -float(graph.tensors[other].quantization.max[0])))
            while reads[index] == 1:
                calibrated = graph.tensors[index].quantization
                changed |= bool((calibrated.min < lowest).any())
                calibrated.min = np.maximum(calibrated.min, lowest)
                maker = makers.get(index)
                if maker is None or builtin_code(model, maker) not in passing:
                    break
                index = maker.inputs[0]
    return changed


def _limit_multipliers(model: Any, in_float: Collection[str]) -> bool:
    """Scale kernels down whose multiplier in int8 would be above `LIMIT`; whether any was.

    A depthwise convolution keeps its bias. The bias of a full convolution is scaled, too, so that
    each sum keeps its sign for the ReLU behind it.
    """
    from ai_edge_litert import schema_py_generated as schema

    full, depthwise = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D
    (graph,) = model.subgraphs
    changed = False
    for operator in graph.operators:
        code = builtin_code(model, operator)
        if code not in (full, depthwise):
            continue
        source, kernel, *biases = (graph.tensors[index] for index in operator.inputs if index >= 0)
        target = graph.tensors[operator.outputs[0]]
        if (values := _values(model, kernel)) is None or target.name.decode() in in_float:
            continue
        # Kernels are (out, height, width, in), depthwise ones (1, height, width, channels).
        axes, last = ((0, 1, 2), 3) if code == depthwise else ((1, 2, 3), 0)
        steps = np.abs(values).max(axes, keepdims=True).astype(np.float64) / 127
        largest = LIMIT * _step(target) / _step(source)
        if not (steps > largest).any():
            continue
        factors = largest / np.maximum(steps, largest)
        _replace(model, operator, 1, values * factors)
        for bias in biases if code == full else ():
            if (offsets := _values(model, bias)) is not None:
                _replace(model, operator, 2, offsets * factors.reshape(values.shape[last]))
        changed = True
    return changed


def _step(tensor: Any) -> float:
    """The step of a tensor in int8: 1/255 of its calibrated range, which always contains 0."""
    low, high = float(tensor.quantization.min[0]), float(tensor.quantization.max[0])
    return max((max(high, 0.0) - min(low, 0.0)) / 255, float(np.finfo(np.float32).tiny))


def _values(model: Any, tensor: Any) -> NDArray[np.float32] | None:
    """A constant's values; None for what is computed."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        return None
    return np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)


def _replace(model: Any, operator: Any, place: int, values: NDArray[Any]) -> None:
    """Give an operator a constant of its own: equal constants share a tensor, or a buffer."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    tensor = copy.copy(graph.tensors[operator.inputs[place]])
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    operator.inputs = np.array(operator.inputs, np.int32)
    operator.inputs[place] = len(graph.tensors)
    graph.tensors.append(tensor)
