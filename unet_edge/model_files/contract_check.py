"""Comparison of a model file's tensors with its contract.

A contract that contradicts its tensors would place pictures on another grid, or name channels that
do not exist.
"""

from __future__ import annotations

import math
import struct
from typing import assert_never

from unet_edge.errors import ModelFileError
from unet_edge.model_files.embedded_contract import Contract, Precision, parse_contract
from unet_edge.model_files.graph import TensorInfo, TensorSummary
from unet_edge.spec import ModelSpec


def checked_contract(data: bytes, name: str) -> Contract:
    """Read the contract of a model file's bytes, and compare it with the file's tensors.

    This takes 1 to 3 ms. Raises ModelFileError and SpecError as `parse_contract` does, and
    ModelFileError when shapes, types, quantisation or precision differ.
    """
    contract = parse_contract(data, name)
    try:
        tensors = _read_tensors(data, contract)
    except (ValueError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise ModelFileError(
            f"{name}: its graph cannot be read ({error})",
            fix="copy or export it again",
        ) from error
    difference = (
        _input_difference(tensors.inputs, contract.spec)
        or _output_difference(tensors.outputs, contract.spec)
        or _kernel_difference(tensors.kernel_types, contract.precision)
    )
    if difference:
        found, expected = difference
        raise ModelFileError(
            f"{name} contradicts its contract: it has {found}",
            expected=f"the contract says {expected}",
            fix="export it again",
        )
    return contract


def _read_tensors(data: bytes, contract: Contract) -> TensorSummary:
    # Here, not at the top: a file of one format does not need the reader of the other.
    match contract.format:
        case "tflite":
            from unet_edge.model_files.tflite_graph import read_tflite

            graph = read_tflite(data)
            kinds = frozenset(kind.split()[0] for kind in graph.kernels)
            return TensorSummary(graph.inputs, graph.outputs, kinds)
        case "onnx":
            from unet_edge.model_files.onnx_tensors import read_onnx_tensors

            return read_onnx_tensors(data)
        case _:
            assert_never(contract.format)


def _input_difference(inputs: tuple[TensorInfo, ...], spec: ModelSpec) -> tuple[str, str] | None:
    expected = f"one input of uint8 {(1, spec.height, spec.width, 3)}"
    if len(inputs) != 1:
        return f"{len(inputs)} inputs", expected
    (tensor,) = inputs
    if (tensor.dtype, tensor.shape) != ("uint8", (1, spec.height, spec.width, 3)):
        return f"an input of {tensor.dtype} {tensor.shape}", expected
    mean, std = spec.normalisation.mean, spec.normalisation.std
    # A mean that is not a whole number has no zero point: the graph subtracts it.
    if tensor.scale is None or not (0 <= mean <= 255 and mean == int(mean)):
        return None
    if tensor.zero_point == mean and math.isclose(tensor.scale, 1 / std, rel_tol=1e-5):
        return None
    found = f"an input of zero point {tensor.zero_point} and scale {tensor.scale:g}"
    return found, f"mean {mean:g} and std {std:g}"


def _output_difference(outputs: tuple[TensorInfo, ...], spec: ModelSpec) -> tuple[str, str] | None:
    labels = spec.output == "labels"
    shape = (1, spec.height, spec.width, *(() if labels else (len(spec.classes),)))
    expected = f"one output of {spec.output} {shape}"
    if len(outputs) != 1:
        return f"{len(outputs)} outputs", expected
    (tensor,) = outputs
    if tensor.shape != shape:
        return f"an output of {tensor.dtype} {tensor.shape}", expected
    if labels:
        return None if tensor.dtype == "uint8" else (f"labels of {tensor.dtype}", "labels of uint8")
    if tensor.dtype == "float32":
        return None
    if tensor.dtype in ("uint8", "int8", "int16") and tensor.scale and 0 < tensor.scale < math.inf:
        return None
    found = f"scores of {tensor.dtype}" + ("" if tensor.scale else " without a scale")
    return found, "scores of float32, or of integers with a scale"


def _kernel_difference(kernels: frozenset[str], precision: Precision) -> tuple[str, str] | None:
    match precision:
        case "float32" | "float16":
            fits = kernels <= {precision, "float32"} and (precision in kernels or not kernels)
        case "int8" | "dynamic" | "int16x8":
            fits = "int8" in kernels or not kernels
        case _:
            assert_never(precision)
    if fits:
        return None
    return f"weights of {' and '.join(sorted(kernels))}", f"{precision}"
