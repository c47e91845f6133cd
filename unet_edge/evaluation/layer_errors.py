"""The error of each tensor of a quantised file against the float file of the same model.

.tflite files run with every tensor kept and without XNNPACK, whose kernels keep none; tensors are
matched by the name that the converter gave them, which is that of the layers they come from. In
.onnx files, what an operation makes is an output of its own (`_OnnxTensors`); operations are
numbered in their order and matched by that.
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
from unet_edge.model_files.onnx_graph import OnnxNode, read_onnx_nodes
from unet_edge.model_files.protobuf import write_field
from unet_edge.system.captured_output import captured_output

# What every file of ours calls its two ends.
_ENDS = ("pixels", "logits")


@dataclass(frozen=True)
class LayerError:
    """How far one tensor of the quantised file is from the float file's, over all pictures.

    Errors add up along the network: each is that of everything before it, too. `sqnr_db` is the
    signal-to-quantisation-noise ratio, 10 log10(power of the float tensor / power of the
    difference); `cosine` the cosine of the angle between both. `dtype` is the quantised file's.
    """

    tensor: str
    dtype: str
    sqnr_db: float
    cosine: float


def layer_errors(
    reference: bytes, candidate: bytes, file_format: Format, grids: Iterable[Pixels]
) -> tuple[LayerError, ...]:
    """Compare the tensors of two files of one format on grids, uint8 (H, W, 3), first to last.

    Raises BackendError without LiteRT or ONNX Runtime, ModelFileError when the files share no
    tensor.
    """
    ours, theirs = _opened(reference, file_format), _opened(candidate, file_format)
    shared = [name for name in theirs.names if theirs.shape(name) == ours.shape(name)]
    if not set(shared) - {_ENDS[-1]}:
        raise ModelFileError(
            "the two files share no tensor",
            expected="they are not of one model",
        )
    sums = {name: np.zeros(4) for name in shared}
    for grid in grids:
        ours.run(grid)
        theirs.run(grid)
        for name in shared:
            wanted, found = ours.value(name), theirs.value(name)
            noise = found - wanted
            sums[name] += [
                np.vdot(wanted, wanted),
                np.vdot(noise, noise),
                np.vdot(found, found),
                np.vdot(wanted, found),
            ]
    return tuple(
        LayerError(
            _short(name), theirs.dtype(name), _decibel(power, noise), _cosine(power, found, both)
        )
        for name, (power, noise, found, both) in sums.items()
    )


class _Tensors(Protocol):
    """A file in an interpreter that keeps what is in the middle."""

    @property
    def names(self) -> Sequence[str]:
        """The tensors that can be compared, in the order they are made."""
        ...

    def shape(self, name: str) -> tuple[int, ...] | None:
        """None for a tensor that is not here."""
        ...

    def dtype(self, name: str) -> str: ...

    def run(self, grid: Pixels) -> None: ...

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


def _cosine(power: float, found: float, both: float) -> float:
    return float(both / math.sqrt(found * power)) if found * power else math.nan


def _short(name: str) -> str:
    """The first layer of a tensor's name: what all that was fused into it ends with."""
    return name.split(";")[0].removeprefix("unet_1/").removeprefix("unet/")


class _TFLiteTensors:
    """A .tflite file in an interpreter that keeps every tensor."""

    def __init__(self, model: bytes) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise BackendError(
                f"errors of layers need LiteRT ({error})",
                fix="fix with: pip install 'unet-edge[litert]'",
            ) from error
        with captured_output():
            self._interpreter: Any = Interpreter(
                model_content=model,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        made = {
            int(output)
            for operator in self._interpreter._get_ops_details()
            for output in operator["outputs"]
        }
        self._details = {
            detail["name"]: detail
            for detail in sorted(self._interpreter.get_tensor_details(), key=lambda d: d["index"])
            if detail["index"] in made
        }
        # Pixels are exact, and scores of two classes centred and cut on purpose
        # (converters/tflite/int8_scores.py).
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


# What belongs to the operation before it: activations, and the rounding to 8 bits and back.
_PASSING = frozenset({"Clip", "Relu", "HardSwish", "QuantizeLinear", "DequantizeLinear"})

_LAYOUT = frozenset({"Transpose", "Cast"})


class _OnnxTensors:
    """An .onnx file in ONNX Runtime that also gives what its operations make.

    Of each operation the tensor behind its activation is looked at, and in a quantised file what
    the next operation reads: the values rounded to 8 bits.
    """

    def __init__(self, model: bytes) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"errors of layers need ONNX Runtime ({error})",
                fix="fix with: pip install 'unet-edge[onnx]'",
            ) from error
        nodes = read_onnx_nodes(model)
        tensors = {
            node.name: _end(node, nodes)
            for node in nodes
            if node.operator not in _PASSING | _LAYOUT
        }
        added = {tensor for tensor, _ in tensors.values()} - set(_ENDS)
        # A second graph behind the first: protobuf merges the two, and so adds the outputs.
        outputs = (write_field(12, write_field(1, tensor.encode())) for tensor in sorted(added))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # as in backends/ort.py
        self._session = onnxruntime.InferenceSession(
            model + write_field(7, b"".join(outputs)), options, providers=["CPUExecutionProvider"]
        )
        self._tensors = tensors
        self._wanted = sorted(added | {_ENDS[-1]})
        shape = self._session.get_inputs()[0].shape[1:]
        self._values: dict[str, NDArray[Any]] = {}
        self.run(np.zeros(shape, np.uint8))  # the shapes are known by what comes out
        self.names = tuple(tensors)

    def run(self, grid: Pixels) -> None:
        found = self._session.run(self._wanted, {_ENDS[0]: grid[np.newaxis]})
        self._values = dict(zip(self._wanted, found, strict=True))

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._values[self._tensors[name][0]].shape if name in self._tensors else None

    def dtype(self, name: str) -> str:
        return "uint8" if self._tensors[name][1] else "float32"

    def value(self, name: str) -> NDArray[np.float64]:
        return self._values[self._tensors[name][0]].astype(np.float64).ravel()


def _end(node: OnnxNode, nodes: Sequence[OnnxNode]) -> tuple[str, bool]:
    """The last tensor of an operation, and whether it was rounded to 8 bits."""
    (tensor,) = node.outputs
    rounded = False
    while True:
        readers = [n for n in nodes if tensor in n.inputs]
        kinds = {n.operator for n in readers}
        # Several read the same codes, each through a DequantizeLinear of its own.
        if len(kinds) != 1 or not kinds <= _PASSING or (len(readers) > 1 and not rounded):
            return tensor, rounded
        rounded |= "QuantizeLinear" in kinds
        (tensor,) = readers[0].outputs
