"""OpenVINO, another interpreter of .onnx files."""

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
        """Compile the model; raise BackendError when OpenVINO is absent or fails."""
        super().__init__()
        try:
            library = importlib.import_module("openvino")
            core = library.Core()
        except (ImportError, SystemError, AttributeError, RuntimeError) as error:
            from unet_edge.runtime.interpreter_problems import NoInterpreterError, failed_attempt

            raise NoInterpreterError(
                "onnx", [failed_attempt("openvino", "openvino", error)]
            ) from error
        settings = {
            # By default, OpenVINO computes float32 files in bfloat16 or float16 where the
            # processor can, and masks fall below their floor.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            compiled = core.compile_model(core.read_model(model, b""), "CPU", settings)
            self._request: Any = compiled.create_infer_request()
            _fill_numpy_tables(library)
        except Exception as error:  # OpenVINO's exceptions share no base class but this
            from unet_edge.runtime.interpreter_problems import failed_attempt, refused_model

            attempt = failed_attempt("openvino", "openvino", error)
            raise refused_model(model, "onnx", attempt) from error
        # "2026.4.1-22982-e213a147257-releases/2026/4": the first part is pip's version.
        self.name = f"openvino {library.__version__.partition('-')[0]}"

    def _run(self, pixels: Pixels) -> NDArray[Any]:
        # OpenVINO reads the pixels without a copy. Its output tensor is copied, because the next
        # run overwrites it.
        self._request.infer([pixels[None]], share_inputs=True)
        output: NDArray[Any] = self._request.get_output_tensor(0).data[0].copy()
        return output


def _fill_numpy_tables(library: Any) -> None:
    """Make OpenVINO fill its tables of NumPy types now, in one thread.

    Otherwise the first inferences of two threads can deadlock, see docs/decisions/025-openvino.md.
    """
    with _TABLES:
        tensor = library.Tensor(np.zeros(1, np.uint8), shared_memory=True)
        tensor.element_type.to_dtype()
