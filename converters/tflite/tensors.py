"""The two ends of a .tflite graph: uint8 pixels in, scores or labels out, signature, metadata.

The converter's graphs begin in float or int8. What pixels mean, the normalisation, is written as
the scale and zero point of a uint8 input, with one DEQUANTIZE (float) or QUANTIZE (int8, which
only re-labels) behind it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS, LOGITS, PIXELS
from converters.tflite.edit import new_operator
from converters.tflite.float16 import halve_kernels
from converters.tflite.int8_scores import narrow, widen
from converters.tflite.labels import end_in_labels
from converters.tflite.mediapipe_metadata import add_metadata
from unet_edge.spec import ModelSpec, Normalisation


def finish(converted: bytes, spec: ModelSpec, exact: bool, *, halves: bool = False) -> bytes:
    """Put the normalisation into the input tensor, name the ends, add a signature and metadata.

    `converted` takes the normalised picture, in float32 or int8; without `exact`, it takes uint8
    pixels already (see `exact_mean`). `halves`: store wide kernels in float16. int8 scores leave
    as uint8, float32 ones as they are, or as labels where the contract says so.
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
        narrow(model)
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
    """Make uint8 pixels the input, and `builtin` what turns them into the graph's old one.

    DEQUANTIZE computes (pixel - mean) * (1 / std), QUANTIZE shifts the zero point. Returns the
    new input's tensor index.
    """
    (graph,) = model.subgraphs
    (behind,) = graph.inputs
    pixels = _tensor_like(model, behind, np.float32(1 / normalisation.std), normalisation.mean)
    operator = new_operator(model, builtin, [pixels], behind)
    graph.operators.insert(0, operator)
    graph.inputs = operator.inputs
    return pixels


def _leave_as_uint8(model: Any) -> int:
    """Append QUANTIZE from the int8 scores to uint8 ones; return their tensor index."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    (scores,) = graph.outputs
    found = graph.tensors[scores].quantization
    target = _tensor_like(model, scores, found.scale[0], found.zeroPoint[0] + 128)
    operator = new_operator(model, schema.BuiltinOperator.QUANTIZE, [scores], target)
    graph.operators.append(operator)
    graph.outputs = operator.outputs
    return target


def _tensor_like(model: Any, index: int, scale: Any, zero_point: Any) -> int:
    """Append a uint8 tensor of the shape of tensor `index`; return its own index."""
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
    """Write 1/std where the converter's (max - min) / 255 missed it by a float32 rounding.

    QUANTIZE in front then only shifts the zero point. A larger miss stays as it is, and the check
    behind the conversion refuses it.
    """
    found = source.quantization
    if abs(found.scale[0] * normalisation.std - 1) < 1e-6:  # 8 units in the last place
        found.scale = np.array([1 / normalisation.std], np.float32)
