"""LiteRT (ai-edge-litert) and its predecessor tflite-runtime."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from numpy.typing import NDArray

from unet_edge.images.placement import Pixels
from unet_edge.runtime.backends.backend import FileBackend

LiteRTPackage = Literal["ai-edge-litert", "tflite-runtime"]

_MODULES: dict[LiteRTPackage, str] = {
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
}


class LiteRTBackend(FileBackend):
    """A TFLite model in a TFLite interpreter."""

    def __init__(self, model: bytes, threads: int, package: LiteRTPackage) -> None:
        """Build the interpreter of `package`; raise BackendError when it does not work."""
        super().__init__()
        try:
            # Under NumPy 2, tflite-runtime can be imported, and raises SystemError or
            # ImportError only when an interpreter is built.
            library = importlib.import_module(_MODULES[package])
            interpreter = importlib.import_module(f"{library.__name__}.interpreter").Interpreter
            self._interpreter: Any = interpreter(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ImportError, SystemError, AttributeError) as error:
            from unet_edge.runtime.interpreter_problems import NoInterpreterError, failed_attempt

            raise NoInterpreterError(
                "tflite", [failed_attempt(package, _MODULES[package], error)]
            ) from error
        except (RuntimeError, ValueError) as error:
            from unet_edge.runtime.interpreter_problems import failed_attempt, refused_model

            attempt = failed_attempt(package, _MODULES[package], error)
            raise refused_model(model, "tflite", attempt) from error
        self.name = f"{package} {_version(package, library)}"
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        scale, zero_point = self._output["quantization"]  # 0 and 0 in a float file
        self.quantisation = (scale, zero_point) if scale else None

    def _run(self, pixels: Pixels) -> NDArray[Any]:
        self._interpreter.set_tensor(self._input["index"], pixels[None])
        self._interpreter.invoke()
        result: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])[0]
        return result


def _version(package: str, library: Any) -> str:
    """The version of a library: its own attribute, which is faster to read than pip's metadata."""
    version: str | None = getattr(library, "__version__", None)
    if version is None:
        from unet_edge.runtime.interpreters import version_of

        return version_of(package) or "(unknown version)"
    return version
