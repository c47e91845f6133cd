"""LiteRT (ai-edge-litert), or its predecessor tflite-runtime where that is what is installed."""

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
        """Build the interpreter of `package`; raises BackendError when it does not work."""
        super().__init__()
        try:
            # Probed by building it: under NumPy 2, tflite-runtime imports without complaint
            # and raises SystemError or ImportError only here.
            library = importlib.import_module(_MODULES[package])
            built = importlib.import_module(f"{library.__name__}.interpreter").Interpreter
            self._interpreter: Any = built(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ImportError, SystemError, AttributeError) as error:
            from unet_edge.runtime.availability import NoInterpreterError, failed_attempt

            raise NoInterpreterError(
                "tflite", [failed_attempt(package, _MODULES[package], error)]
            ) from error
        except (RuntimeError, ValueError) as error:
            from unet_edge.runtime.availability import failed_attempt, refused_model

            attempt = failed_attempt(package, _MODULES[package], error)
            raise refused_model(model, "tflite", attempt) from error
        self.name = f"{package} {_version(package, library)}"
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        scale, zero_point = self._output["quantization"]  # 0 and 0 in float
        self.quantisation = (scale, zero_point) if scale else None

    def _run(self, pixels: Pixels) -> NDArray[Any]:
        self._interpreter.set_tensor(self._input["index"], pixels[None])
        self._interpreter.invoke()
        result: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])[0]
        return result


def _version(package: str, library: Any) -> str:
    """By its own word, which costs less to ask than what pip wrote down."""
    from_library: str | None = getattr(library, "__version__", None)
    if from_library is None:
        from unet_edge.runtime.interpreters import version_of

        return version_of(package) or "(unknown version)"
    return from_library
