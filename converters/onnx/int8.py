"""ONNX in int8: kernels per channel, activations uint8, in the QDQ format."""

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


def quantise(
    proto: Any,
    calibration: Sequence[NDArray[np.uint8]],
    normalisation: Normalisation,
    rounding: Rounding = "bounded",
    float_convolutions: Collection[int] = (),
) -> Any:
    """Quantise statically: weights int8 per channel, activations uint8.

    `proto`: float32, NCHW `pixels` in. `calibration`: grids, uint8 (H, W, 3). `rounding`: of the
    kernels but depthwise ones. `float_convolutions`: numbers of those that stay in float32, in the
    graph's order. In what comes back, `pixels` is uint8. Raises ConversionError when the quantiser
    wrapped the input otherwise or did not keep the bound, and what onnx and onnxruntime raise.

    Signed activations run slower than float on x86, and one scale for a whole depthwise layer
    ruins it. MinMax is as good as Entropy or Percentile here, since ReLU6 bounds what it sees.
    What follows the last convolution stays float: the resize of the scores is then exact, and
    no slower, because onnxruntime resizes in float anyway. Sums of bounded kernels
    fit into 16 bits (`unet_edge.model_files.saturation`): the masks are then the same on every
    processor.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    last = max(i for i, node in enumerate(proto.graph.node) if node.op_type == "Conv")
    convolutions = [node.name for node in proto.graph.node if node.op_type == "Conv"]
    kept = {convolutions[index] for index in float_convolutions}
    exact = {
        "scale": np.array(1 / normalisation.std, np.float32),
        "zero_point": np.array(normalisation.mean, np.uint8),
    }
    overrides: dict[str, list[dict[str, Any]]] = {PIXELS: [exact]}
    if rounding == "bounded":
        overrides |= _bound_kernels(proto, kept)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "quantised.onnx"))
        quantize_static(
            proto,
            path,
            _Reader(calibration, normalisation),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*kept, *(node.name for node in proto.graph.node[last + 1 :])],
            extra_options={"TensorQuantOverrides": overrides},
        )
        quantised = onnx.load(path)
    nodes = quantised.graph.node
    (first,) = (node for node in nodes if PIXELS in node.input)
    if convolutions[0] not in kept:
        if first.op_type != "QuantizeLinear":
            raise ConversionError(f"the quantiser put {first.op_type} first, not QuantizeLinear")
        # The pixels are the quantised input: drop the pair in front, `_start_from_pixels` adds one.
        (second,) = (node for node in nodes if first.output[0] in node.input)
        for node in nodes:
            node.input[:] = [PIXELS if name == second.output[0] else name for name in node.input]
        nodes.remove(first)
        nodes.remove(second)
    if rounding == "bounded" and read_onnx(quantised.SerializeToString()).can_saturate:
        raise ConversionError("the quantiser rounded the bounded kernels otherwise")
    return quantised


def _bound_kernels(proto: Any, kept: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Round the kernels of `proto` in place, but depthwise ones and `kept`; scales as overrides."""
    from onnx import numpy_helper

    kernels = {
        node.input[1]
        for node in proto.graph.node
        if node.op_type == "Conv" and node.name not in kept
    }
    overrides: dict[str, list[dict[str, Any]]] = {}
    for tensor in proto.graph.initializer:
        if tensor.name not in kernels or tensor.dims[1] == 1:
            continue
        scales, whole = round_bounded(numpy_helper.to_array(tensor))
        rounded = (whole * scales[:, None, None, None]).astype(np.float32)
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
