"""Keras model → ONNX bytes: uint8 pixels in NHWC in, float32 logits in NHWC out.

What is left of the graph is Conv, Clip, Resize, Concat and a few more between one Transpose at
either end, with the normalisation as one DequantizeLinear in front; float16 adds a Cast behind each
kernel, int8 the QuantizeLinear and DequantizeLinear pairs of the QDQ format.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
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
from converters.onnx.float16 import halve_kernels
from converters.onnx.int8 import quantise
from converters.onnx.labels import OPERATORS as LABEL_OPERATORS
from converters.onnx.labels import end_in_labels
from unet_edge.errors import ConversionError
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.spec import ModelSpec
from unet_edge.system.captured_output import captured_output

OnnxPrecision = Literal["float32", "float16", "int8"]

OPSET = 14
"""The first with HardSwish; nothing newer is needed (onnxruntime >= 1.8)."""

MAX_IR = 10
"""Newest file format that onnxruntime 1.18 to 1.22 read; opset 14 itself came with 7."""

#: All that our networks need; anything else fell out of a layer that the device would run slowly.
OPERATORS = frozenset(
    {
        "Add",
        "Clip",
        "Concat",
        "Conv",
        "DequantizeLinear",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "MaxPool",
        "Mul",
        "Relu",
        "Resize",
        "Transpose",
    }
)


def to_onnx(
    model: keras.Model,
    spec: ModelSpec,
    precision: Precision,
    calibration: Sequence[NDArray[np.uint8]] = (),
    rounding: Rounding = "bounded",
    float_layers: Collection[str] = (),
) -> bytes:
    """Convert `model` to the bytes of an .onnx file without metadata or external data.

    Input `pixels`: uint8 (1, H, W, 3). Output `logits`: float32 (1, H, W, classes), or
    `labels`: uint8 (1, H, W), where the contract says so.
    For int8 only: `calibration`, grids, uint8 (H, W, 3); `rounding` of the kernels, of which
    "plain" gives a wrong mask on x86 without VNNI in programs that do not prevent it;
    `float_layers`, Keras' names of convolutions that stay in float32. The same model and
    calibration give the same bytes.

    Raises ConversionError when the settings do not fit, when a converter fails, or when the
    result breaks a promise: operators, shapes, half-pixel bilinear upsampling.
    """
    if precision not in get_args(OnnxPrecision):
        raise ConversionError(
            f"unknown precision {precision!r}",
            fix=f"choose one of {', '.join(get_args(OnnxPrecision))}",
        )
    if precision == "int8":
        check_calibration(calibration, spec)
    with captured_output():
        frozen = freeze(model, height=spec.height, width=spec.width, normalised=True)
        try:
            proto = _simplify(_translate(frozen))
            fuse(proto)
            _rename(proto)
            if precision == "float16":
                halve_kernels(proto)
            elif precision == "int8":
                kept = _convolutions(proto, model, float_layers)
                proto = quantise(proto, calibration, spec.normalisation, rounding, kept)
            _start_from_pixels(proto, spec)
            if spec.output == "labels":
                end_in_labels(proto, spec)
            _rename(proto)
        except ConversionError:
            raise
        except Exception as error:  # Three libraries, each with exceptions of its own.
            raise ConversionError(
                f"{model.name} does not convert to ONNX: {reason(error)}"
            ) from error
        _check(proto, spec, precision)
    return bytes(proto.SerializeToString(deterministic=True))


def _translate(frozen: Any) -> Any:
    """TensorFlow graph → ONNX graph, float32 NCHW `pixels` in, NHWC `logits` out."""
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
    """Fold BatchNorm and padding into the convolutions, as onnxruntime would on loading.

    Runtimes that fold less (OpenCV, OpenVINO's older readers) then see the same graph, and the
    quantiser sees the weights that the device multiplies with.
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


def _convolutions(proto: Any, model: keras.Model, layers: Collection[str]) -> list[int]:
    """The numbers of Keras' convolutions `layers` among those of the graph.

    Raises ConversionError where kernels of the two do not go together.
    """
    if not layers:
        return []
    kinds = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
    ours = [layer for layer in model.layers if isinstance(layer, kinds)]
    shapes = {tensor.name: sorted(tensor.dims) for tensor in proto.graph.initializer}
    theirs = [shapes.get(n.input[1]) for n in proto.graph.node if n.op_type == "Conv"]
    if [sorted(layer.kernel.shape) for layer in ours] != theirs:
        raise ConversionError(f"the convolutions of {model.name} are in another order in the graph")
    found = [number for number, layer in enumerate(ours) if layer.name in layers]
    if len(found) < len(set(layers)):
        raise ConversionError(f"{model.name} does not have all of {', '.join(sorted(layers))}")
    return found


def _start_from_pixels(proto: Any, spec: ModelSpec) -> None:
    """Put uint8 NHWC pixels in front: Transpose while they are bytes, then normalise."""
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
    """Number nodes and tensors in their order of use, and drop what else varies.

    The libraries name by counters and hashes that differ from run to run; the file must not.
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
    kept = [constants[name] for name in used]
    del graph.initializer[:], graph.value_info[:], proto.metadata_props[:]
    for tensor in kept:
        tensor.name, tensor.doc_string = names[tensor.name], ""
        graph.initializer.append(tensor)
    graph.name, graph.doc_string, proto.doc_string = "unet", "", ""
    proto.producer_name, proto.producer_version = "unet-edge", ""
    proto.ir_version = min(proto.ir_version, MAX_IR)
    imports = [entry for entry in proto.opset_import if entry.domain == ""]
    del proto.opset_import[:]
    proto.opset_import.extend(imports)


def _check(proto: Any, spec: ModelSpec, precision: Precision) -> None:
    """Hold the graph against the promises."""
    from onnx import checker, shape_inference

    allowed = set(OPERATORS)
    if precision == "float16":
        allowed.add("Cast")
    if precision == "int8":
        allowed.add("QuantizeLinear")
    if not exact_mean(spec.normalisation):
        allowed |= {"Cast", "Sub"}
    wanted: dict[str, tuple[int, ...]] = {PIXELS: (1, *spec.size, 3)}
    if spec.output == "labels":
        allowed |= LABEL_OPERATORS
        wanted[LABELS] = (1, *spec.size)
    else:
        wanted[LOGITS] = (1, *spec.size, len(spec.classes))
    if strange := sorted({node.op_type for node in proto.graph.node} - allowed):
        raise ConversionError(
            f"the converted graph holds {', '.join(strange)}",
            expected=f"expected only {', '.join(sorted(allowed))}",
        )
    checker.check_model(proto)
    inferred = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    if free := sorted(name for name, shape in shapes.items() if 0 in shape):
        raise ConversionError(f"the converted graph has free dimensions at {', '.join(free)}")
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise ConversionError(
                f"{name} has the shape {shapes.get(name)} in the converted graph",
                expected=f"expected {shape}",
            )
    for node in proto.graph.node:
        if node.op_type == "Resize":
            said = {a.name: a.s.decode() for a in node.attribute if a.s}
            mode = (said.get("mode"), said.get("coordinate_transformation_mode"))
            if mode != ("linear", "half_pixel"):
                raise ConversionError(
                    f"{node.name} resizes by {mode}",
                    expected=(
                        "expected ('linear', 'half_pixel'), as Keras' bilinear UpSampling2D does"
                    ),
                )
