"""Convert a Keras model to the bytes of an .onnx file: uint8 NHWC pixels in, NHWC logits out.

The graph starts and ends with a Transpose. A DequantizeLinear at its start normalises the pixels.
Between them are Conv, Clip, Resize, Concat and a few more. float16 adds a Cast after each kernel,
int8 the QuantizeLinear and DequantizeLinear pairs of the QDQ format.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

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
    reason,
)
from converters.fusion import fuse
from converters.int8.kernels import Rounding
from converters.kernel_matching import match_kernels
from converters.layers import convolutions
from converters.onnx.float16 import halve_kernels
from converters.onnx.int8 import kernel_nodes, quantise
from converters.onnx.labels import end_in_labels
from unet_edge.errors import ConversionError
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.spec import ModelSpec
from unet_edge.system.captured_output import captured_output

OnnxPrecision = Literal["float32", "float16", "int8"]

OPSET = 14
"""The first opset with HardSwish; onnxruntime reads it since 1.8."""

MAX_IR = 10
"""The newest file format that onnxruntime 1.18 to 1.22 reads; opset 14 needs 7."""


def to_onnx(
    model: keras.Model,
    spec: ModelSpec,
    precision: Precision,
    calibration: Sequence[NDArray[np.uint8]] = (),
    rounding: Rounding = "bounded",
    float_layers: Collection[str] = (),
    *,
    graph: bytes | None = None,
) -> bytes:
    """Convert `model` to the bytes of an .onnx file without metadata or external data.

    Input `pixels`: uint8 (1, H, W, 3). Output, by the contract: `logits`, float32
    (1, H, W, classes), or `labels`, uint8 (1, H, W).

    For int8 only: `calibration`, grids, uint8 (H, W, 3); `rounding` of the kernels;
    `float_layers`, names of convolutions that stay in float32. With "plain" rounding, programs that
    do not prevent saturation give wrong masks on x86 without VNNI. The same model and calibration
    give the same bytes. `graph` is the model's `float_graph`, for callers that need it twice.

    Raises ConversionError when settings do not fit together, when a converter fails, or when
    operators or shapes of the result are wrong.
    """
    if precision not in get_args(OnnxPrecision):
        raise ConversionError(
            f"unknown precision {precision!r}",
            fix=f"choose one of {', '.join(get_args(OnnxPrecision))}",
        )
    if precision == "int8":
        check_calibration(calibration, spec)
    if graph is None:
        graph = float_graph(model, spec)
    import onnx

    proto = onnx.load_from_string(graph)
    with captured_output():
        with _conversion_errors(model):
            if precision == "float16":
                halve_kernels(proto)
            elif precision == "int8":
                in_float = _convolution_numbers(proto, model, float_layers)
                proto = quantise(proto, calibration, spec.normalisation, rounding, in_float)
            _start_from_pixels(proto, spec)
            if spec.output == "labels":
                end_in_labels(proto, spec)
            _rename(proto)
        _check(proto, spec)
    return bytes(proto.SerializeToString(deterministic=True))


def float_graph(model: keras.Model, spec: ModelSpec) -> bytes:
    """Convert `model` to the float32 ONNX graph that files of all precisions start from.

    The graph takes the normalised picture. Raises ConversionError as `to_onnx` does.
    """
    with captured_output():
        frozen = freeze(model, height=spec.height, width=spec.width, normalised=True)
        with _conversion_errors(model):
            proto = _translate(frozen)
            _check_operators(proto)
            proto = _simplify(proto)
            fuse(proto)
            _rename(proto)
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _conversion_errors(model: keras.Model) -> Iterator[None]:
    """Raise what the three libraries raise as ConversionError; each has exceptions of its own."""
    try:
        yield
    except ConversionError:
        raise
    except Exception as error:  # three libraries, without a common base class
        raise ConversionError(f"{model.name} does not convert to ONNX: {reason(error)}") from error


def _translate(frozen: Any) -> Any:
    """Convert a TensorFlow graph to ONNX, with float32 NCHW `pixels` and NHWC `logits`."""
    import tf2onnx

    source, target = frozen.inputs[0].name, frozen.outputs[0].name
    proto, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        name="unet",
        input_names=[source],
        output_names=[target],
        opset=OPSET,
        inputs_as_nchw=[source],
        tensors_to_rename={source: PIXELS, target: LOGITS},
    )
    return proto


def _simplify(proto: Any) -> Any:
    """Fold BatchNorm and padding into the convolutions, as onnxruntime does when it loads a file.

    Runtimes that fold less (OpenCV, OpenVINO's older readers) then read the same graph. The
    quantiser reads the weights that the device computes with.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "simplified.onnx"))
        options.optimized_model_filepath = path
        onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(path)


def _convolution_numbers(proto: Any, model: keras.Model, names: Collection[str]) -> list[int]:
    """The positions of Keras' convolutions `names` among the graph's convolutions.

    Raises ConversionError if one is missing, or if the kernels of model and graph differ.
    """
    if not names:
        return []
    from onnx import numpy_helper

    keras_layers = convolutions(model)
    if missing := sorted(set(names) - {layer.name for layer in keras_layers}):
        raise ConversionError(f"{model.name} has no convolution named {', '.join(missing)}")
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    kernels = []
    for node in kernel_nodes(proto):
        kernel = np.zeros((0, 0, 0, 0), np.float32)  # equals no layer's kernel
        if node.input[1] in constants:
            kernel = numpy_helper.to_array(constants[node.input[1]])
        kernels.append(kernel.swapaxes(0, 1) if node.op_type == "ConvTranspose" else kernel)
    found = match_kernels(keras_layers, kernels)
    if lost := sorted(set(names) - set(found)):
        raise ConversionError(
            f"the convolutions {', '.join(lost)} of {model.name} have other kernels in the graph"
        )
    return sorted(found[name] for name in names)


def _start_from_pixels(proto: Any, spec: ModelSpec) -> None:
    """Make uint8 NHWC pixels the input: Transpose the bytes, then normalise them."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    mean, std = spec.normalisation.mean, np.float32(spec.normalisation.std)
    for node in graph.node:
        node.input[:] = ["normalised" if name == PIXELS else name for name in node.input]
    front = [helper.make_node("Transpose", [PIXELS], ["planes"], perm=(0, 3, 1, 2))]
    constants = {"scale": np.array(1 / std, np.float32)}
    if exact_mean(spec.normalisation):
        constants["mean"] = np.array(mean, np.uint8)
        front.append(
            helper.make_node("DequantizeLinear", ["planes", "scale", "mean"], ["normalised"])
        )
    else:
        constants["mean"] = np.array(mean, np.float32)
        front += [
            helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["float", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "scale"], ["normalised"]),
        ]
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    nodes = [*front, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, (1, *spec.size, 3)))


def _rename(proto: Any) -> None:
    """Name nodes and tensors by their order of use, and remove other text that varies.

    The libraries' names contain counters and hashes that differ between runs; the file's bytes
    must not.
    """
    graph = proto.graph
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    used: dict[str, None] = {}
    seen: Counter[str] = Counter()
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        node.name = f"{node.op_type}_{seen[node.op_type]}"
        seen[node.op_type] += 1
        node.doc_string = ""
        for slot, name in enumerate(node.input):
            if name in constants and name not in used:
                used[name] = None
                names[name] = f"{node.name}.{slot}"
        for slot, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}:{slot}" if slot else node.name)
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
        node.input[:] = [names.get(name, "") for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    used_constants = [constants[name] for name in used]
    del graph.initializer[:], graph.value_info[:], proto.metadata_props[:]
    for tensor in used_constants:
        tensor.name, tensor.doc_string = names[tensor.name], ""
        graph.initializer.append(tensor)
    graph.name, graph.doc_string, proto.doc_string = "unet", "", ""
    proto.producer_name, proto.producer_version = "unet-edge", ""
    proto.ir_version = min(proto.ir_version, MAX_IR)
    imports = [entry for entry in proto.opset_import if entry.domain == ""]
    del proto.opset_import[:]
    proto.opset_import.extend(imports)


def _check(proto: Any, spec: ModelSpec) -> None:
    """Raise ConversionError if operators or shapes are wrong."""
    from onnx import checker

    _check_operators(proto)
    checker.check_model(proto)
    _check_shapes(proto, spec)


def _check_operators(proto: Any) -> None:
    """Raise ConversionError for an operator that ONNX does not have in this opset."""
    from onnx import defs

    known = {
        schema.name
        for schema in defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version <= OPSET
    }
    for node in proto.graph.node:
        if node.domain or node.op_type not in known:
            raise ConversionError(
                f"the converted graph holds {node.op_type} in {node.name or node.output[0]}",
                expected=f"expected only operators of ONNX's opset {OPSET}",
            )


def _check_shapes(proto: Any, spec: ModelSpec) -> None:
    from onnx import shape_inference

    expected: dict[str, tuple[int, ...]] = {PIXELS: (1, *spec.size, 3)}
    if spec.output == "labels":
        expected[LABELS] = (1, *spec.size)
    else:
        expected[LOGITS] = (1, *spec.size, len(spec.classes))
    inferred = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    if free := sorted(name for name, shape in shapes.items() if 0 in shape):
        raise ConversionError(f"the converted graph has free dimensions at {', '.join(free)}")
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            raise ConversionError(
                f"{name} has the shape {shapes.get(name)} in the converted graph",
                expected=f"expected {shape}",
            )
