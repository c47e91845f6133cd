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

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from converters.score_layers import SCORING, score_layers
from converters.tflite.edit import builtin_code

RANGE = 4.0
"""The largest |d/2|; beyond, scores are clipped. There the better class has probability 0.9997."""

_PICTURES = 16


def score_range(model: keras.Model, calibration: Sequence[NDArray[np.uint8]]) -> float:
    """The largest |d/2| to keep in an int8 file: `RANGE`, or more if a resizing follows.

    Resized scores cross 0 elsewhere if they were clipped before. So the masks of up to 16
    calibration pictures are computed with several ranges, and the range is kept whose masks are
    those of `model`; the narrower of two that are as good. `calibration`: uint8 (H, W, 3).
    """
    scoring, *resizing = score_layers(model)
    if model.output.shape[-1] != 2 or not isinstance(scoring, SCORING) or not resizing:
        return RANGE
    scores = keras.Model(model.inputs[0], scoring.output)
    halves = []
    for grid in calibration[:_PICTURES]:
        both = np.asarray(scores(grid[np.newaxis].astype(np.float32), training=False))
        halves.append((both[..., 1] - both[..., 0]) / 2)
    reaches = [RANGE]
    while halves and reaches[-1] < max(np.abs(half).max() for half in halves):
        reaches.append(2 * reaches[-1])

    def labels(half: NDArray[np.float32]) -> NDArray[np.bool_]:
        resized: Any = np.stack([-half, half], -1)
        for layer in resizing:
            resized = layer(resized, training=False)
        resized = np.asarray(resized)
        return np.asarray(resized[..., 1] > resized[..., 0])

    def equal(reach: float) -> int:
        """Pixels whose class is the same with scores that are cut to `reach` and rounded."""
        step = reach / 127
        # With half a step added to both scores, their difference is an odd number of steps.
        rounded = ((np.floor(half / step) + 0.5).clip(-127, 127) * step for half in halves)
        return sum(
            int((labels(cut) == label).sum()) for cut, label in zip(rounded, expected, strict=True)
        )

    expected = [labels(half) for half in halves]
    return max(reaches, key=lambda reach: (equal(reach), -reach))


def centred(model: keras.Model) -> keras.Model:
    """A copy of `model` whose two scores add up to 0; other numbers of classes stay as they are."""
    last = score_layers(model)[0]
    if not isinstance(last, SCORING) or last.filters != 2:
        return model

    def with_bias(layer: keras.Layer) -> keras.Layer:
        added = {"use_bias": True} if layer is last else {}
        return type(layer).from_config(layer.get_config() | added)

    copy = keras.models.clone_model(model, clone_function=with_bias)
    for layer, twin in zip(model.layers, copy.layers, strict=True):
        if layer is not last:
            twin.set_weights(layer.get_weights())
    axis = -2 if isinstance(last, keras.layers.Conv2DTranspose) else -1
    kernel, *biases = last.get_weights()
    bias = biases[0] if biases else np.zeros(2, np.float32)
    kernel, bias = kernel - kernel.mean(axis, keepdims=True), bias - bias.mean()
    copy.get_layer(last.name).set_weights([kernel, bias])
    return copy


def widen(model: Any) -> bool:
    """Make the output float32 if the last convolution is in float; returns whether it is.

    The converter quantises the float scores to int8 and resizes them in int8. This undoes both, in
    place, in a `ModelT` of the TFLite schema.
    """
    from ai_edge_litert import schema_py_generated as schema

    operators = schema.BuiltinOperator
    passing = _passing_operators()
    (graph,) = model.subgraphs
    makers = {op.outputs[0]: op for op in graph.operators}
    (target,) = graph.outputs
    resizes = []
    while builtin_code(model, makers[target]) in passing:
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
        resize.inputs = np.array([source, *resize.inputs[1:]], np.int32)
        source = resize.outputs[0]
        graph.tensors[source].type = schema.TensorType.FLOAT32
        graph.tensors[source].quantization = None
    graph.outputs = np.array([source], np.int32)
    return True


def narrow(model: Any, reach: float = RANGE) -> None:
    """Set range and rounding of the two scores in an int8 `ModelT` of the TFLite schema, in place.

    `reach` is their largest |d/2|, of `score_range`. For models that `centred` returned. Files of
    more classes stay as they are, and files whose scores do not come from a convolution that
    `centred` changed.
    """
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    tensors = graph.tensors
    (target,) = graph.outputs
    if tensors[target].shape[-1] != 2:
        return
    passing = {schema.BuiltinOperator.QUANTIZE, *_passing_operators()}
    makers = {op.outputs[0]: op for op in graph.operators}
    scores = [target]
    while builtin_code(model, makers[scores[-1]]) in passing:
        scores.append(makers[scores[-1]].inputs[0])
    convolution = makers[scores[-1]]
    place = _bias_input(builtin_code(model, convolution))
    if place is None or len(convolution.inputs) <= place or not _is_centred(model, convolution):
        return
    calibrated = tensors[scores[-1]].quantization
    # The calibrated range, on the wider side of zero; a range beyond it would waste steps.
    zero_point = calibrated.zeroPoint[0]
    largest = calibrated.scale[0] * max(127 - zero_point, 128 + zero_point)
    step = min(reach, float(largest)) / 127
    for tensor in scores:
        signed = tensors[tensor].type == schema.TensorType.INT8
        tensors[tensor].quantization.scale = np.array([step], np.float32)
        tensors[tensor].quantization.zeroPoint = np.array([0 if signed else 128], np.int64)
    bias = tensors[convolution.inputs[place]]
    unit = np.asarray(bias.quantization.scale, np.float64)
    values = np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4")
    shifted = schema.BufferT()  # a new one, because equal constants may share a buffer
    shifted.data = np.frombuffer(
        (values + np.round(step / 2 / unit)).astype("<i4").tobytes(), np.uint8
    )
    bias.buffer = len(model.buffers)
    model.buffers.append(shifted)


def _passing_operators() -> set[int]:
    """The operators of `PASSING`: what they write lies between the scores that they read."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {
        BuiltinOperator.RESIZE_BILINEAR,
        BuiltinOperator.RESIZE_NEAREST_NEIGHBOR,
        BuiltinOperator.SLICE,
        BuiltinOperator.STRIDED_SLICE,
    }


def _bias_input(builtin: int) -> int | None:
    """The place of the bias among the inputs of a convolution, None for other operators."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {BuiltinOperator.CONV_2D: 2, BuiltinOperator.TRANSPOSE_CONV: 3}.get(builtin)


def _is_centred(model: Any, convolution: Any) -> bool:
    """Whether the two kernels of a convolution are opposite: its scores then add up to 0."""
    (graph,) = model.subgraphs
    kernel = graph.tensors[convolution.inputs[1]]  # int8 (2, height, width, in)
    weights = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.int8).astype(np.int16)
    first, second = weights.reshape(2, -1)
    return bool((abs(first + second) <= 1).all())  # float32 may round two opposite weights apart
