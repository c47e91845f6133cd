"""Check a .tflite file: its operators, its input's quantisation and its shapes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from converters.freeze import exact_mean, reason
from converters.tflite.edit import builtin_code
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec
from unet_edge.system.captured_output import captured_output

_DELEGATE = "DELEGATE"
"""LiteRT's name of a partition that XNNPACK runs."""


def operators(data: bytes) -> Counter[str]:
    """How often each operator occurs in a .tflite file, by its name in the schema.

    Knows every operator of the schema, so that an error can name any of them.
    `unet_edge.model_files.read_graph` knows those of its tables only; tests compare the two.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    counts: Counter[str] = Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            value = builtin_code(model, operator)
            custom = (code.customCode or b"").decode()
            counts[custom or names.get(value, f"operator {value}")] += 1
    return counts


def partitions(data: bytes) -> int:
    """The number of partitions that LiteRT gives to XNNPACK on this machine; 1 is best."""
    return sum(op["op_name"] == _DELEGATE for op in _opened(data)._get_ops_details())


def outside_xnnpack(data: bytes) -> Counter[str]:
    """How often each operator runs outside XNNPACK on this machine; such operators are slow."""
    interpreter = _opened(data)
    nodes = interpreter._get_ops_details()
    delegates = [node for node in nodes if node["op_name"] == _DELEGATE]
    delegated = {int(index) for node in delegates for index in node["outputs"]}
    makers = {
        int(index): node
        for node in nodes
        if node["op_name"] != _DELEGATE
        for index in node["outputs"]
    }
    # LiteRT lists operators in a partition, too. Those outside make what partitions read.
    waiting = [target["index"] for target in interpreter.get_output_details()]
    waiting += [int(index) for node in delegates for index in node["inputs"]]
    outside: dict[int, str] = {}
    while waiting:
        index = waiting.pop()
        maker = makers.get(index)
        if maker is not None and index not in delegated and maker["index"] not in outside:
            outside[maker["index"]] = maker["op_name"]
            waiting += map(int, maker["inputs"])
    return Counter(outside.values())


def _opened(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with captured_output():
        interpreter = Interpreter(model_content=data, num_threads=1)
        try:
            interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ConversionError(f"LiteRT refuses the converted file: {reason(error)}") from error
    return interpreter


def check(data: bytes, spec: ModelSpec) -> None:
    """Open the file as the device does, and check operators, types, shapes and quantisation.

    Raises ConversionError if one of them is not what the contract promises.
    """
    exact = exact_mean(spec.normalisation)
    labels = spec.output == "labels"
    _check_operators(data)
    interpreter = _opened(data)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    if source["dtype"] != np.uint8 or tuple(source["shape_signature"]) != (1, *spec.size, 3):
        raise ConversionError(
            f"the converted input is {source['dtype'].__name__} {source['shape_signature']}",
            expected=f"expected uint8 {(1, *spec.size, 3)}",
        )
    shape = (1, *spec.size) if labels else (1, *spec.size, len(spec.classes))
    if tuple(target["shape_signature"]) != shape:
        raise ConversionError(
            f"the converted output has shape {target['shape_signature']}",
            expected=f"expected {shape}",
        )
    expected = (float(np.float32(1 / spec.normalisation.std)), int(spec.normalisation.mean))
    if exact and source["quantization"] != expected:
        raise ConversionError(
            f"the converted input has (scale, zero point) {source['quantization']}",
            expected=f"expected the normalisation's {expected}",
        )


def _check_operators(data: bytes) -> None:
    """Raise ConversionError for an operator that is not one of LiteRT's own.

    Those of TensorFlow (Flex) and custom ones need more than the interpreter on the device.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for graph in model.subgraphs:
        for operator in graph.operators:
            if builtin_code(model, operator) == schema.BuiltinOperator.CUSTOM:
                custom = (model.operatorCodes[operator.opcodeIndex].customCode or b"").decode()
                tensor = (graph.tensors[operator.outputs[0]].name or b"").decode()
                raise ConversionError(
                    f"the converted graph holds {custom} at {tensor}",
                    expected="expected only operators that LiteRT has itself",
                )
