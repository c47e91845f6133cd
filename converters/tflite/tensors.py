"""Finish a .tflite graph: uint8 pixels as input, scores or labels as output, signature, metadata.

The converter's graphs start in float or int8. Here the input becomes uint8, and its scale and zero
point are the normalisation. A DEQUANTIZE (float) or QUANTIZE (int8, which only shifts the zero
point) follows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS, LOGITS, PIXELS
from converters.tflite.edit import new_operator
from converters.tflite.float16 import halve_kernels
from converters.tflite.int8_scores import RANGE, narrow, widen
from converters.tflite.labels import end_in_labels
from converters.tflite.mediapipe_metadata import add_metadata
from unet_edge.spec import ModelSpec, Normalisation


def finish(
    converted: bytes,
    spec: ModelSpec,
    exact: bool,
    *,
    halves: bool = False,
    score_range: float = RANGE,
) -> bytes:
    """Write the normalisation into the input, name input and output, add signature and metadata.

    `converted` takes the normalised picture, float32 or int8. Without `exact`, it already takes
    uint8 pixels (see `exact_mean`). `halves` stores wide kernels in float16. int8 scores become
    uint8, and float32 scores stay; with a contract for labels, both become labels. Two classes'
    int8 scores keep `score_range`.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(converted, 0)
    (graph,) = model.subgraphs
    (source,), (target,) = graph.inputs, graph.outputs
    if halves:
        halve_kernels(model)
    if exact and graph.tensors[source].type == schema.TensorType.INT8:
        _round_input_scale(graph.tensors[source], spec.normalisation)
        source = _put_in_front(model, spec.normalisation, schema.BuiltinOperator.QUANTIZE)
    elif exact:
        source = _put_in_front(model, spec.normalisation, schema.BuiltinOperator.DEQUANTIZE)
    if graph.tensors[target].type == schema.TensorType.INT8 and widen(model):
        (target,) = graph.outputs
    elif graph.tensors[target].type == schema.TensorType.INT8:
        target = _leave_as_uint8(model)
        narrow(model, score_range)
    end = LOGITS
    if spec.output == "labels":
        target, end = end_in_labels(model), LABELS
    for tensor, name in ((source, PIXELS), (target, end)):
        graph.tensors[tensor].name = name
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    signature.inputs[0].name, signature.inputs[0].tensorIndex = PIXELS, source
    signature.outputs[0].name, signature.outputs[0].tensorIndex = end, target
    model.signatureDefs = [signature]
    add_metadata(model, spec, schema)
    builder = flatbuffers.Builder(len(converted) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _put_in_front(model: Any, normalisation: Normalisation, builtin: int) -> int:
    """Make uint8 pixels the input, and convert them to the old input with the operator `builtin`.

    DEQUANTIZE computes (pixel - mean) * (1 / std); QUANTIZE shifts the zero point. Returns the
    tensor index of the new input.
    """
    (graph,) = model.subgraphs
    (old_input,) = graph.inputs
    pixels = _tensor_like(model, old_input, np.float32(1 / normalisation.std), normalisation.mean)
    operator = new_operator(model, builtin, [pixels], old_input)
    graph.operators.insert(0, operator)
    graph.inputs = operator.inputs
    return pixels


def _leave_as_uint8(model: Any) -> int:
    """Append a QUANTIZE from int8 to uint8 scores; returns the tensor index of the latter."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    (scores,) = graph.outputs
    int8 = graph.tensors[scores].quantization
    target = _tensor_like(model, scores, int8.scale[0], int8.zeroPoint[0] + 128)
    operator = new_operator(model, schema.BuiltinOperator.QUANTIZE, [scores], target)
    graph.operators.append(operator)
    graph.outputs = operator.outputs
    return target


def _tensor_like(model: Any, index: int, scale: Any, zero_point: Any) -> int:
    """Append a uint8 tensor with the shape of tensor `index`; returns the new tensor's index."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    tensor = schema.TensorT()
    tensor.shape, tensor.type = graph.tensors[index].shape, schema.TensorType.UINT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _round_input_scale(source: Any, normalisation: Normalisation) -> None:
    """Set the input's scale to 1/std if it differs by float32 rounding only.

    The converter computes (max - min) / 255. With equal scales, the QUANTIZE in front only shifts
    the zero point. A scale that differs more stays, and the check of the file refuses it.
    """
    quantisation = source.quantization
    if abs(quantisation.scale[0] * normalisation.std - 1) < 1e-6:  # 8 units in the last place
        quantisation.scale = np.array([1 / normalisation.std], np.float32)
