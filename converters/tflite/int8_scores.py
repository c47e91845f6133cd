"""The scores of two classes in int8: their range and rounding serve the decision between them.

A mask is right when the better score stays the better one. The calibrated range reaches to the
surest pixel, so that its int8 steps are coarse near a border, where both scores are close: rounding
decides there, or makes a tie, which arg-max gives to class 0. So:
- `centred`: the mean of both scores is taken out. Arg-max and softmax do not notice; what is left
  is d/2 and -d/2, where d is their difference.
- `narrow`: the range is cut to where the decision is made, and half a step is added to both, so
  that they round to sums of one step and all but never tie.
See docs/decisions/035-two-class-scores.md.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from converters.tflite.edit import builtin_code
from unet_edge.errors import ConversionError

RANGE = 4.0
"""Largest |d/2| that is told apart. At 4 the surer class has a probability of 0.9997."""


def centred(model: keras.Model) -> keras.Model:
    """A copy of a two-class `model` whose scores add up to 0; other models as they are."""
    last = next((x for x in model.layers if x.name in ("logits_half", "logits")), None)
    if not isinstance(last, keras.layers.Conv2D) or last.filters != 2:
        return model
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    kernel, bias = last.get_weights()
    kernel, bias = kernel - kernel.mean(-1, keepdims=True), bias - bias.mean()
    copy.get_layer(last.name).set_weights([kernel, bias])
    return copy


def widen(model: Any) -> bool:
    """Let the scores leave in float32 where the last convolution is in float; say whether it is.

    The converter quantises its scores to int8 and resizes those; here both are undone, in
    place, on a `ModelT` of the TFLite schema.
    """
    from ai_edge_litert import schema_py_generated as schema

    operators = schema.BuiltinOperator
    (graph,) = model.subgraphs
    makers = {op.outputs[0]: op for op in graph.operators}
    (target,) = graph.outputs
    behind = []
    while builtin_code(model, makers[target]) == operators.RESIZE_BILINEAR:
        behind.append(makers[target])
        target = makers[target].inputs[0]
    quantise = makers[target]
    source = quantise.inputs[0]
    if (
        builtin_code(model, quantise) != operators.QUANTIZE
        or graph.tensors[source].type != schema.TensorType.FLOAT32
    ):
        return False
    graph.operators.remove(quantise)
    for resize in reversed(behind):
        resize.inputs = np.array([source, resize.inputs[1]], np.int32)
        source = resize.outputs[0]
        graph.tensors[source].type = schema.TensorType.FLOAT32
        graph.tensors[source].quantization = None
    graph.outputs = np.array([source], np.int32)
    return True


def narrow(model: Any) -> None:
    """Set range and rounding of the scores in an int8 file, a `ModelT` of the TFLite schema.

    For models that went through `centred`; files of more than two classes stay as they are.
    Raises ConversionError when the scores are not made by a convolution with a bias.
    """
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    tensors = graph.tensors
    (target,) = graph.outputs
    if tensors[target].shape[-1] != 2:
        return
    passing = {schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.RESIZE_BILINEAR}
    makers = {op.outputs[0]: op for op in graph.operators}
    scores = [target]
    while builtin_code(model, makers[scores[-1]]) in passing:
        scores.append(makers[scores[-1]].inputs[0])
    convolution = makers[scores[-1]]
    if (
        builtin_code(model, convolution) != schema.BuiltinOperator.CONV_2D
        or len(convolution.inputs) < 3
    ):
        raise ConversionError("the scores of two classes must come from a convolution with a bias")
    seen = tensors[scores[-1]].quantization
    # What calibration saw, on the wider side of zero; a range beyond it would only waste steps.
    reach = seen.scale[0] * max(127 - seen.zeroPoint[0], 128 + seen.zeroPoint[0])
    step = min(RANGE, float(reach)) / 127
    for tensor in scores:
        signed = tensors[tensor].type == schema.TensorType.INT8
        tensors[tensor].quantization.scale = np.array([step], np.float32)
        tensors[tensor].quantization.zeroPoint = np.array([0 if signed else 128], np.int64)
    bias = tensors[convolution.inputs[2]]
    unit = np.asarray(bias.quantization.scale, np.float64)
    values = np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4")
    moved = schema.BufferT()  # of its own: equal constants may share one
    moved.data = np.frombuffer(
        (values + np.round(step / 2 / unit)).astype("<i4").tobytes(), np.uint8
    )
    bias.buffer = len(model.buffers)
    model.buffers.append(moved)
