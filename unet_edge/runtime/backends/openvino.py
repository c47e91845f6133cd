"""OpenVINO, which reads the same .onnx files."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.images.placement import Pixels
from unet_edge.runtime.backends.backend import FileBackend

_TABLES = threading.Lock()


class OpenVinoBackend(FileBackend):
    """An ONNX model in OpenVINO on the CPU."""

    def __init__(self, model: bytes, threads: int) -> None:
        """Compile the model; raises BackendError when OpenVINO is absent or fails."""
        super().__init__()
        try:
            library = importlib.import_module("openvino")
            core = library.Core()
        except (ImportError, SystemError, AttributeError, RuntimeError) as error:
            from unet_edge.runtime.availability import NoInterpreterError, failed_attempt

            raise NoInterpreterError(
                "onnx", [failed_attempt("openvino", "openvino", error)]
            ) from error
        settings = {
            # Left to itself it computes float32 files in bfloat16 or float16 where the processor
            # can, and their masks break their floor.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            compiled = core.compile_model(core.read_model(model, b""), "CPU", settings)
            self._request: Any = compiled.create_infer_request()
            _meet_numpy(library)
        except Exception as error:  # OpenVINO's exceptions share no base class but this
            from unet_edge.runtime.availability import failed_attempt, refused_model

            attempt = failed_attempt("openvino", "openvino", error)
            raise refused_model(model, "onnx", attempt) from error
        # "2026.4.1-22982-e213a147257-releases/2026/4": pip knows the first part.
        self.name = f"openvino {library.__version__.partition('-')[0]}"

    def _run(self, pixels: Pixels) -> NDArray[Any]:
        # It reads our pixels without a copy. The result is its own tensor, which the next run
        # overwrites, perhaps another thread's.
        self._request.infer([pixels[None]], share_inputs=True)
        output: NDArray[Any] = self._request.get_output_tensor(0).data[0].copy()
        return output


def _meet_numpy(library: Any) -> None:
    """Have OpenVINO fill its tables of NumPy's types, here and by one thread.

    It would fill them in the first inference, and its pybind11 lets go of the GIL over that while
    it holds the lock of the table: the first inferences of two threads wait for each other, for
    ever (13 of 20 processes of four threads, OpenVINO 2026.4).
    """
    with _TABLES:
        tensor = library.Tensor(np.zeros(1, np.uint8), shared_memory=True)
        tensor.element_type.to_dtype()
