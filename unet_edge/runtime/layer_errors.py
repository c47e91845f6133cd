"""The error of each tensor of a quantised .tflite file against the float file of the same model.

Both files run with every tensor kept and without XNNPACK, whose kernels keep none. Tensors are
matched by the name that the converter gave them, which is that of the layers they come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError, ModelFileError
from unet_edge.imaging import Pixels
from unet_edge.quiet import quiet


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
    reference: bytes, candidate: bytes, grids: Iterable[Pixels]
) -> tuple[LayerError, ...]:
    """Compare the tensors of two .tflite files on grids, uint8 (H, W, 3), first to last.

    Raises BackendError without LiteRT, ModelFileError when the files share no tensor.
    """
    ours, theirs = _Tensors(reference), _Tensors(candidate)
    # Every file of ours calls its ends "pixels" and "logits", and pixels are exact.
    # Scores of two classes are centred and cut on purpose (converters/scores.py).
    names = [n for n in theirs.names if n != "pixels" and (theirs.shape(n) or (2,))[-1] != 2]
    shared = [name for name in names if theirs.shape(name) == ours.shape(name)]
    if not set(shared) - {"logits"}:
        raise ModelFileError("the two files share no tensor; they are not of one model")
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


def _decibel(power: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power else -math.inf


def _cosine(power: float, found: float, both: float) -> float:
    return float(both / math.sqrt(found * power)) if found * power else math.nan


def _short(name: str) -> str:
    """The first layer of a tensor's name: what all that was fused into it ends with."""
    return name.split(";")[0].removeprefix("unet_1/").removeprefix("unet/")


class _Tensors:
    """A file in an interpreter that keeps every tensor."""

    def __init__(self, model: bytes) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise BackendError(
                f"errors of layers need LiteRT ({error}); mend with: pip install ai-edge-litert"
            ) from error
        with quiet():
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
        self.names = tuple(self._details)

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
