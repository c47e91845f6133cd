"""The error of each tensor of a quantised file against the float file of the same model.

.tflite files run without XNNPACK, because its kernels do not keep intermediate tensors. Tensors
are matched by name: the converter names them after their layers. In .onnx files, the results of
operations become additional outputs (`_OnnxTensors`), and operations are matched by their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError, ModelFileError
from unet_edge.images.placement import Pixels
from unet_edge.model_files.embedded_contract import Format
from unet_edge.model_files.onnx_graph import read_onnx_nodes
from unet_edge.model_files.onnx_messages import OnnxNode
from unet_edge.model_files.protobuf import write_field
from unet_edge.system.captured_output import captured_output

# The input and the output of every exported file.
_ENDS = ("pixels", "logits")


@dataclass(frozen=True)
class LayerError:
    """The difference of one tensor between the quantised and the float file, over all pictures.

    Errors add up along the network: a tensor's error includes those of the layers before it.
    `sqnr_db` is the signal-to-quantisation-noise ratio, 10 log10(power of the float tensor / power
    of the difference). `cosine` is the cosine of the angle between both. `dtype` is the quantised
    file's.
    """

    tensor: str
    dtype: str
    sqnr_db: float
    cosine: float


def layer_errors(
    reference: bytes, candidate: bytes, file_format: Format, grids: Iterable[Pixels]
) -> tuple[LayerError, ...]:
    """Compare the tensors of two files of one format on grids, uint8 (H, W, 3), first to last.

    Raises BackendError when LiteRT or ONNX Runtime is not installed, ModelFileError when the
    files share no tensor.
    """
    exact, rounded = _opened(reference, file_format), _opened(candidate, file_format)
    shared = [name for name in rounded.names if rounded.shape(name) == exact.shape(name)]
    if not set(shared) - {_ENDS[-1]}:
        raise ModelFileError(
            "the two files share no tensor", expected="they must be files of one model"
        )
    sums = {name: np.zeros(4) for name in shared}
    for grid in grids:
        exact.run(grid)
        rounded.run(grid)
        for name in shared:
            expected, actual = exact.value(name), rounded.value(name)
            noise = actual - expected
            sums[name] += [
                np.vdot(expected, expected),
                np.vdot(noise, noise),
                np.vdot(actual, actual),
                np.vdot(expected, actual),
            ]
    return tuple(
        LayerError(
            tensor=_short(name),
            dtype=rounded.dtype(name),
            sqnr_db=_decibel(power, noise),
            cosine=_cosine(power, actual, product),
        )
        for name, (power, noise, actual, product) in sums.items()
    )


class _Tensors(Protocol):
    """A file in an interpreter that gives access to intermediate tensors."""

    @property
    def names(self) -> Sequence[str]:
        """The tensors that can be compared, in the order they are computed."""
        ...

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor, None where the file does not have it."""
        ...

    def dtype(self, name: str) -> str:
        """The data type of a tensor in the file."""
        ...

    def run(self, grid: Pixels) -> None:
        """Run the file on a grid, uint8 (H, W, 3)."""
        ...

    def value(self, name: str) -> NDArray[np.float64]:
        """The tensor of the last run, dequantised, flat."""
        ...


def _opened(model: bytes, file_format: Format) -> _Tensors:
    match file_format:
        case "tflite":
            return _TFLiteTensors(model)
        case "onnx":
            return _OnnxTensors(model)
        case _:
            assert_never(file_format)


def _decibel(power: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power else -math.inf


def _cosine(power: float, other_power: float, product: float) -> float:
    powers = power * other_power
    return float(product / math.sqrt(powers)) if powers else math.nan


def _short(name: str) -> str:
    """The first layer in a tensor's name, which lists all layers that were fused into it."""
    return name.split(";")[0].removeprefix("unet_1/").removeprefix("unet/")


class _TFLiteTensors:
    """A .tflite file in an interpreter that keeps every tensor."""

    def __init__(self, model: bytes) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise BackendError(
                f"errors of layers need LiteRT, which cannot be imported ({error})",
                fix="run: pip install 'unet-edge[litert]'",
            ) from error
        with captured_output():
            self._interpreter: Any = Interpreter(
                model_content=model,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        computed = {
            int(output)
            for operator in self._interpreter._get_ops_details()
            for output in operator["outputs"]
        }
        self._details = {
            detail["name"]: detail
            for detail in sorted(self._interpreter.get_tensor_details(), key=lambda d: d["index"])
            if detail["index"] in computed
        }
        # Without the pixels, which are exact, and without the scores of two classes, which an
        # export centres and clips (converters/tflite/int8_scores.py).
        self.names = tuple(
            name
            for name, detail in self._details.items()
            if name != _ENDS[0] and tuple(detail["shape"][-1:]) not in ((), (2,))
        )

    def run(self, grid: Pixels) -> None:
        self._interpreter.set_tensor(self._input["index"], grid[np.newaxis])
        self._interpreter.invoke()

    def shape(self, name: str) -> tuple[int, ...] | None:
        return tuple(self._details[name]["shape"]) if name in self._details else None

    def dtype(self, name: str) -> str:
        return str(np.dtype(self._details[name]["dtype"]))

    def value(self, name: str) -> NDArray[np.float64]:
        detail = self._details[name]
        value = self._interpreter.get_tensor(detail["index"]).astype(np.float64)
        scale, zero_point = detail["quantization"]
        return np.asarray((value - zero_point) * scale if scale else value).ravel()


# These belong to the operation before them: activations, rounding to 8 bits and back.
_PART_OF_PREVIOUS = frozenset({"Clip", "Relu", "HardSwish", "QuantizeLinear", "DequantizeLinear"})

_LAYOUT = frozenset({"Transpose", "Cast"})


class _OnnxTensors:
    """An .onnx file in ONNX Runtime, with the results of its operations as outputs.

    The result of an operation is the tensor behind its activation. In a quantised file, it is the
    tensor that the next operation reads, rounded to 8 bits.
    """

    def __init__(self, model: bytes) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"errors of layers need ONNX Runtime, which cannot be imported ({error})",
                fix="run: pip install 'unet-edge[onnx]'",
            ) from error
        nodes = read_onnx_nodes(model)
        tensors = {
            node.name: _last_tensor(node, nodes)
            for node in nodes
            if node.operator not in _PART_OF_PREVIOUS | _LAYOUT
        }
        added = {tensor for tensor, _ in tensors.values()} - set(_ENDS)
        # A second graph with only outputs is appended: protobuf merges the two graphs.
        outputs = (write_field(12, write_field(1, tensor.encode())) for tensor in sorted(added))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # as in backends/ort.py
        self._session = onnxruntime.InferenceSession(
            model + write_field(7, b"".join(outputs)), options, providers=["CPUExecutionProvider"]
        )
        self._tensors = tensors
        self._outputs = sorted(added | {_ENDS[-1]})
        shape = self._session.get_inputs()[0].shape[1:]
        self._values: dict[str, NDArray[Any]] = {}
        self.run(np.zeros(shape, np.uint8))  # a run shows the shapes
        self.names = tuple(tensors)

    def run(self, grid: Pixels) -> None:
        values = self._session.run(self._outputs, {_ENDS[0]: grid[np.newaxis]})
        self._values = dict(zip(self._outputs, values, strict=True))

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._values[self._tensors[name][0]].shape if name in self._tensors else None

    def dtype(self, name: str) -> str:
        return "uint8" if self._tensors[name][1] else "float32"

    def value(self, name: str) -> NDArray[np.float64]:
        return self._values[self._tensors[name][0]].astype(np.float64).ravel()


def _last_tensor(node: OnnxNode, nodes: Sequence[OnnxNode]) -> tuple[str, bool]:
    """The last tensor that belongs to an operation, and whether it is rounded to 8 bits."""
    (tensor,) = node.outputs
    rounded = False
    while True:
        readers = [n for n in nodes if tensor in n.inputs]
        kinds = {n.operator for n in readers}
        # Several operations may read one rounded tensor, each with its own DequantizeLinear.
        if len(kinds) != 1 or not kinds <= _PART_OF_PREVIOUS or (len(readers) > 1 and not rounded):
            return tensor, rounded
        rounded |= "QuantizeLinear" in kinds
        (tensor,) = readers[0].outputs
