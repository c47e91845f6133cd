"""int8 in ONNX: kernels per channel, activations uint8, in the QDQ format."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.freeze import PIXELS, normalise
from converters.int8.kernels import Rounding, round_bounded
from unet_edge.errors import ConversionError
from unet_edge.model_files.onnx_graph import read_onnx
from unet_edge.spec import Normalisation

_WITH_KERNEL = ("Conv", "ConvTranspose")


def quantise(
    proto: Any,
    calibration: Sequence[NDArray[np.uint8]],
    normalisation: Normalisation,
    rounding: Rounding = "bounded",
    float_convolutions: Collection[int] = (),
) -> Any:
    """Quantise statically: weights int8 per channel, activations uint8.

    `proto` has float32 NCHW `pixels`; those of the result are uint8. `calibration`: grids, uint8
    (H, W, 3). `rounding`: of all kernels except depthwise ones. `float_convolutions`: positions of
    the convolutions that stay in float32 among `kernel_nodes`.

    Raises ConversionError if the quantiser changed the input in another way or did not keep the
    bound, and errors of onnx and onnxruntime. The choices and their evidence are in
    docs/decisions/030-calibration.md and 001-bounded-int8-kernels.md.
    """
    convolutions = kernel_nodes(proto)
    in_float = {convolutions[index].name for index in float_convolutions}
    pixels = {
        "scale": np.array(1 / normalisation.std, np.float32),
        "zero_point": np.array(normalisation.mean, np.uint8),
    }
    overrides: dict[str, list[dict[str, Any]]] = {PIXELS: [pixels]}
    if rounding == "bounded":
        overrides |= _bound_kernels(proto, in_float)
    quantised = _quantised(proto, _Reader(calibration, normalisation), in_float, overrides)
    _start_from_quantised_pixels(quantised.graph)
    # Sums of bounded kernels fit into 16 bits, so masks are the same on every processor.
    if rounding == "bounded" and read_onnx(quantised.SerializeToString()).can_saturate:
        raise ConversionError(
            "the quantised sums can exceed 16 bits",
            expected="expected the quantiser to keep bounded kernels",
        )
    return quantised


def kernel_nodes(proto: Any) -> list[Any]:
    """The nodes of a graph that have a kernel, full, depthwise and transposed, in its order."""
    return [node for node in proto.graph.node if node.op_type in _WITH_KERNEL]


def _quantised(
    proto: Any, reader: _Reader, in_float: Collection[str], overrides: dict[str, Any]
) -> Any:
    """Run onnxruntime's quantiser; `in_float` names the convolutions to leave out."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    last = max(i for i, node in enumerate(proto.graph.node) if node.op_type in _WITH_KERNEL)
    # Nodes after the last convolution stay in float: the resize of the scores is then exact, and no
    # slower, because onnxruntime resizes in float anyway.
    after_last = [node.name for node in proto.graph.node[last + 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "quantised.onnx"))
        quantize_static(
            proto,
            path,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,  # one scale for a whole depthwise layer ruins it
            activation_type=QuantType.QUInt8,  # signed activations are slower than float on x86
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*in_float, *after_last],
            extra_options={"TensorQuantOverrides": overrides},
        )
        return onnx.load(path)


def _start_from_quantised_pixels(graph: Any) -> None:
    """Remove a QuantizeLinear and DequantizeLinear pair that follows the pixels, in place.

    The input is then the quantised pixels; `_start_from_pixels` adds its own DequantizeLinear. If
    the first operations are in float, there is no pair.
    """
    readers = [node for node in graph.node if PIXELS in node.input]
    for first in (node for node in readers if node.op_type == "QuantizeLinear"):
        for second in [node for node in graph.node if first.output[0] in node.input]:
            for node in graph.node:
                node.input[:] = [
                    PIXELS if name == second.output[0] else name for name in node.input
                ]
            graph.node.remove(second)
        graph.node.remove(first)


def _bound_kernels(proto: Any, in_float: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Round the kernels of `proto` in place, except depthwise ones and those of `in_float`.

    Returns the kernels' scales as overrides for the quantiser.
    """
    from onnx import numpy_helper

    groups = {
        node.input[1]: next((each.i for each in node.attribute if each.name == "group"), 1)
        for node in proto.graph.node
        if node.op_type == "Conv" and node.name not in in_float
    }
    overrides: dict[str, list[dict[str, Any]]] = {}
    for tensor in proto.graph.initializer:
        if tensor.name not in groups:
            continue
        if tensor.dims[1] == 1 and groups[tensor.name] == tensor.dims[0]:
            continue  # depthwise, with one kernel for each channel
        scales, integers = round_bounded(numpy_helper.to_array(tensor))
        rounded = (integers * scales[:, None, None, None]).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
        overrides[tensor.name] = [
            {"axis": 0, "scale": np.float32(scale), "zero_point": np.int8(0)} for scale in scales
        ]
    return overrides


class _Reader:
    """The calibration pictures as onnxruntime's `CalibrationDataReader`, NCHW."""

    def __init__(
        self, calibration: Sequence[NDArray[np.uint8]], normalisation: Normalisation
    ) -> None:
        self._pictures = normalise(calibration, normalisation)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        for picture in self._pictures:
            return {PIXELS: picture.transpose(0, 3, 1, 2)}
        return None
