"""Keras model → LiteRT (.tflite) bytes: uint8 pixels in, built-in operators only.

The input tensor's scale and zero point are the normalisation, in every precision: int8 files
compute on it directly, float files undo it with the one DEQUANTIZE in front, and XNNPACK takes
either graph as a single partition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, assert_never, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from converters.freeze import (
    LABELS,
    LOGITS,
    PIXELS,
    check_calibration,
    exact_mean,
    freeze,
    normalise,
    reason,
    spell_out_hard_swish,
)
from converters.labels import TFLITE_OPERATORS, end_in_labels_tflite
from converters.scores import centred, narrow
from converters.tflite_metadata import add_metadata
from unet_edge.errors import ConversionError
from unet_edge.metadata import Precision
from unet_edge.quiet import quiet
from unet_edge.spec import ModelSpec, Normalisation

#: All that our networks need, each with an XNNPACK kernel. QUANTIZE is no exception that costs
#: arithmetic: it only re-labels uint8 as int8 at the input and back at the output.
OPERATORS = frozenset(
    {
        "ADD",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEQUANTIZE",
        "HARD_SWISH",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "QUANTIZE",
        "RESIZE_BILINEAR",
        "SUB",
    }
)

#: What a mean between two pixel values needs besides, before the partition: see `exact_mean`.
CAST_OPERATORS = frozenset({"CAST"})


def to_tflite(
    model: keras.Model,
    spec: ModelSpec,
    precision: Precision,
    calibration: Sequence[NDArray[np.uint8]] = (),
) -> bytes:
    """Convert `model` to the bytes of a .tflite file without its contract.

    Input `pixels`: uint8 (1, H, W, 3). Output `logits`: float32 (1, H, W, classes), or uint8
    with a scale and a zero point in int8; `labels`: uint8 (1, H, W), where the contract says so.
    `calibration`: grids, uint8 (H, W, 3), for int8 only.
    The same model and calibration give the same bytes. MediaPipe reads them once `metadata.seal`
    has appended the labels.

    Raises ConversionError when the settings do not fit, when TensorFlow's converter fails, or
    when the result breaks a promise: operators, input quantisation, shapes.
    """
    if precision not in get_args(Precision):
        raise ConversionError(
            f"unknown precision {precision!r}; choose one of {', '.join(get_args(Precision))}"
        )
    exact = exact_mean(spec.normalisation)
    if precision == "int8":
        check_calibration(calibration, spec)
    with quiet():
        import tensorflow as tf

        source = spell_out_hard_swish(centred(model)) if precision == "int8" else model
        frozen = freeze(source, height=spec.height, width=spec.width, normalised=exact)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        match precision:
            case "float32":
                pass
            case "float16":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_types = [tf.float16]
            case "int8":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.inference_input_type = tf.uint8
                converter.inference_output_type = tf.uint8
                converter.representative_dataset = lambda: _representative(calibration, spec)
            case _:
                assert_never(precision)
        try:
            converted = converter.convert()
        except Exception as error:  # The converter raises its own type, ValueError and more.
            raise ConversionError(
                f"TensorFlow cannot convert {model.name}: {reason(error)}"
            ) from error
    data = _finish(converted, spec, exact)
    _check(data, spec, exact)
    return data


def operators(data: bytes) -> Counter[str]:
    """How often each operator occurs in a .tflite file, by its name in the schema.

    Not by `unet_edge.graph`, which names the operators of its tables only: by the whole schema,
    so that a strange one is refused by its name, and the two readers prove each other.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    found: Counter[str] = Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            value = max(code.builtinCode, code.deprecatedBuiltinCode)  # as TFLite reads it
            custom = (code.customCode or b"").decode()
            found[custom or names.get(value, f"operator {value}")] += 1
    return found


def partitions(data: bytes) -> int:
    """How many pieces of the graph LiteRT hands to XNNPACK on this machine; 1 is the aim."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def _representative(
    calibration: Sequence[NDArray[np.uint8]], spec: ModelSpec
) -> Iterator[list[NDArray[np.float32]]]:
    """Feed the calibrator, with a black and a white corner in the first picture.

    The converter takes the input's range from the data: pixels 0 and 255 make it the range of
    uint8, so that the scale is 1/std and the zero point the mean.
    """
    first = calibration[0].copy()
    first[0, 0], first[-1, -1] = 0, 255
    for picture in normalise([first, *calibration[1:]], spec.normalisation):
        yield [picture]


def _finish(converted: bytes, spec: ModelSpec, exact: bool) -> bytes:
    """Put the normalisation into the input tensor, name the ends, add a signature and metadata."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(converted, 0)
    (graph,) = model.subgraphs
    (source,), (target,) = graph.inputs, graph.outputs
    if exact and graph.tensors[source].type == schema.TensorType.FLOAT32:
        source = _dequantize_input(model, spec.normalisation, schema)
    elif exact:
        _round_input_scale(graph, spec.normalisation)
    if graph.tensors[target].type == schema.TensorType.UINT8:
        narrow(model)
    end = LOGITS
    if spec.output == "labels":
        target, end = end_in_labels_tflite(model), LABELS
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


def _dequantize_input(model: Any, normalisation: Normalisation, schema: Any) -> int:
    """Replace the float input by uint8 pixels and DEQUANTIZE: (pixel - mean) * (1 / std).

    Returns the new input's tensor index.
    """
    graph = model.subgraphs[0]
    pixels = schema.TensorT()
    pixels.shape = graph.tensors[graph.inputs[0]].shape
    pixels.type = schema.TensorType.UINT8
    pixels.quantization = schema.QuantizationParametersT()
    pixels.quantization.scale = np.array([1 / normalisation.std], np.float32)
    pixels.quantization.zeroPoint = np.array([normalisation.mean], np.int64)
    graph.tensors.append(pixels)

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 1
    model.operatorCodes.append(code)

    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs = np.array([len(graph.tensors) - 1], np.int32)
    operator.outputs = np.array(graph.inputs, np.int32)
    graph.operators.insert(0, operator)
    graph.inputs = operator.inputs
    return int(operator.inputs[0])


def _round_input_scale(graph: Any, normalisation: Normalisation) -> None:
    """Write 1/std where the converter's (max - min) / 255 missed it by a float32 rounding.

    The int8 copy of the pixels gets the same scale, so that QUANTIZE only shifts the zero point.
    A larger miss stays as it is, and the check behind the conversion refuses it.
    """
    (source,) = graph.inputs
    copies = [op.outputs[0] for op in graph.operators if source in op.inputs]
    for tensor in (source, *copies):
        found = graph.tensors[tensor].quantization
        if abs(found.scale[0] * normalisation.std - 1) < 1e-6:  # 8 units in the last place
            found.scale = np.array([1 / normalisation.std], np.float32)


def _check(data: bytes, spec: ModelSpec, exact: bool) -> None:
    """Open the file as the device will and hold it against the promises."""
    from ai_edge_litert.interpreter import Interpreter

    labels = spec.output == "labels"
    allowed = OPERATORS if exact else OPERATORS | CAST_OPERATORS
    if labels:
        allowed |= TFLITE_OPERATORS
    if strange := sorted(set(operators(data)) - allowed):
        raise ConversionError(
            f"the converted graph holds {', '.join(strange)}, which would leave the fast path "
            f"on the device; expected only {', '.join(sorted(allowed))}"
        )
    with quiet():
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    if source["dtype"] != np.uint8 or tuple(source["shape_signature"]) != (1, *spec.size, 3):
        raise ConversionError(
            f"the converted input is {source['dtype'].__name__} {source['shape_signature']}; "
            f"expected uint8 {(1, *spec.size, 3)}"
        )
    shape = (1, *spec.size) if labels else (1, *spec.size, len(spec.classes))
    if tuple(target["shape_signature"]) != shape:
        raise ConversionError(
            f"the converted output has shape {target['shape_signature']}; expected {shape}"
        )
    wanted = (float(np.float32(1 / spec.normalisation.std)), int(spec.normalisation.mean))
    if exact and source["quantization"] != wanted:
        raise ConversionError(
            f"the converted input has (scale, zero point) {source['quantization']}; "
            f"expected the normalisation's {wanted}"
        )
