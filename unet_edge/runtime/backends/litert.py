"""LiteRT (ai-edge-litert), or its predecessor tflite-runtime where that is what is installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError
from unet_edge.imaging import Labels, Pixels
from unet_edge.runtime.backends import Scores, as_labels, as_scores

# In order of preference: tflite-runtime is LiteRT's unmaintained predecessor.
_INTERPRETERS = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)
_MEND = "pip install ai-edge-litert"


class LiteRTBackend:
    """A TFLite model in a TFLite interpreter."""

    def __init__(self, model: bytes, threads: int) -> None:
        """Build the interpreter; raises BackendError when none is installed or none works."""
        failures: list[str] = []
        for package, module in _INTERPRETERS:
            try:
                # Probed by building it: under NumPy 2, tflite-runtime imports without complaint
                # and raises SystemError or ImportError only here.
                library = importlib.import_module(module)
                self._interpreter: Any = library.Interpreter(
                    model_content=model, num_threads=threads
                )
                self._interpreter.allocate_tensors()
            except ModuleNotFoundError as error:
                if error.name not in (module, module.split(".")[0]):
                    failures.append(f"{package} lacks {error.name}")
            except (ImportError, SystemError, AttributeError) as error:
                failures.append(f"{package} does not work here ({_first_line(error)})")
            except (RuntimeError, ValueError) as error:
                raise BackendError(
                    f"{package} {_version(package)} cannot run this model: {_first_line(error)}; "
                    "a newer interpreter may: pip install --upgrade ai-edge-litert"
                ) from error
            else:
                self.name = f"{package} {_version(package)}"
                break
        else:
            raise BackendError(_nothing_works(failures))
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        scale, zero_point = self._output["quantization"]  # 0 and 0 in float
        self.quantisation = (scale, zero_point) if scale else None

    def scores(self, pixels: Pixels) -> Scores:
        """Run the model; uint8 (H, W, 3) in, (H, W, C) out, float32 or uint8.

        Raises BackendError when the file gives labels.
        """
        return as_scores(self._run(pixels))

    def labels(self, pixels: Pixels) -> Labels:
        """Run the model; uint8 (H, W, 3) in, uint8 (H, W) out."""
        return as_labels(self._run(pixels))

    def _run(self, pixels: Pixels) -> NDArray[Any]:
        self._interpreter.set_tensor(self._input["index"], pixels[None])
        self._interpreter.invoke()
        result: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])[0]
        return result


def _nothing_works(failures: list[str]) -> str:
    if not failures:
        return f"no TFLite interpreter is installed; mend with: {_MEND}"
    mend = _MEND
    if int(np.__version__.split(".")[0]) >= 2 and any("tflite-runtime" in f for f in failures):
        mend += ", or keep tflite-runtime with: pip install 'numpy<2'"
    return f"no TFLite interpreter works: {'; '.join(failures)}; mend with: {mend}"


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "(unknown version)"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
