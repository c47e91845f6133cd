"""Quantise the scores of two classes for the decision between them.

A mask is right if the better score stays the better one. The calibrated range includes the most
confident pixel, so int8 steps are coarse near a border, where both scores are close. There rounding
decides, or makes a tie, which arg-max gives to class 0. Two functions prevent this:
- `centred` subtracts the mean of both scores, which changes neither arg-max nor softmax. The scores
  become d/2 and -d/2, where d is their difference.
- `narrow` cuts the range to small differences, and adds half a step to both scores. They then
  round to values whose sum is one step, and hardly ever tie.
See docs/decisions/035-two-class-scores.md.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from converters.tflite.edit import builtin_code
from unet_edge.errors import ConversionError

RANGE = 4.0
"""The largest |d/2|; beyond, scores are clipped. There the better class has probability 0.9997."""


def centred(model: keras.Model) -> keras.Model:
    """A copy of `model` whose two scores add up to 0; other numbers of classes stay as they are."""
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
    """Make the output float32 if the last convolution is in float; returns whether it is.

    The converter quantises the float scores to int8 and resizes them in int8. This undoes both, in
    place, in a `ModelT` of the TFLite schema.
    """
    from ai_edge_litert import schema_py_generated as schema

    operators = schema.BuiltinOperator
    (graph,) = model.subgraphs
    makers = {op.outputs[0]: op for op in graph.operators}
    (target,) = graph.outputs
    resizes = []
    while builtin_code(model, makers[target]) == operators.RESIZE_BILINEAR:
        resizes.append(makers[target])
        target = makers[target].inputs[0]
    quantise = makers[target]
    source = quantise.inputs[0]
    if (
        builtin_code(model, quantise) != operators.QUANTIZE
        or graph.tensors[source].type != schema.TensorType.FLOAT32
    ):
        return False
    graph.operators.remove(quantise)
    for resize in reversed(resizes):
        resize.inputs = np.array([source, resize.inputs[1]], np.int32)
        source = resize.outputs[0]
        graph.tensors[source].type = schema.TensorType.FLOAT32
        graph.tensors[source].quantization = None
    graph.outputs = np.array([source], np.int32)
    return True


def narrow(model: Any) -> None:
    """Set range and rounding of the two scores in an int8 `ModelT` of the TFLite schema, in place.

    For models that `centred` returned. Files of more classes stay as they are. Raises
    ConversionError if no convolution with a bias computes the scores.
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
        raise ConversionError("the scores of two classes come from no convolution with a bias")
    calibrated = tensors[scores[-1]].quantization
    # The calibrated range, on the wider side of zero; a range beyond it would waste steps.
    zero_point = calibrated.zeroPoint[0]
    reach = calibrated.scale[0] * max(127 - zero_point, 128 + zero_point)
    step = min(RANGE, float(reach)) / 127
    for tensor in scores:
        signed = tensors[tensor].type == schema.TensorType.INT8
        tensors[tensor].quantization.scale = np.array([step], np.float32)
        tensors[tensor].quantization.zeroPoint = np.array([0 if signed else 128], np.int64)
    bias = tensors[convolution.inputs[2]]
    unit = np.asarray(bias.quantization.scale, np.float64)
    values = np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4")
    shifted = schema.BufferT()  # a new one, because equal constants may share a buffer
    shifted.data = np.frombuffer(
        (values + np.round(step / 2 / unit)).astype("<i4").tobytes(), np.uint8
    )
    bias.buffer = len(model.buffers)
    model.buffers.append(shifted)
