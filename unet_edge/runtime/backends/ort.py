"""ONNX Runtime."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from unet_edge.images.placement import Pixels
from unet_edge.runtime.backends.backend import FileBackend
from unet_edge.runtime.backends.int8_sums import SUFFIX, careful_options


class OnnxRuntimeBackend(FileBackend):
    """An ONNX model in ONNX Runtime on the CPU."""

    def __init__(self, model: bytes, threads: int) -> None:
        """Build the session; raise BackendError when ONNX Runtime is absent or fails."""
        super().__init__()
        try:
            import onnxruntime
        except (ImportError, SystemError, AttributeError) as error:
            from unet_edge.runtime.interpreter_problems import NoInterpreterError, failed_attempt

            raise NoInterpreterError(
                "onnx", [failed_attempt("onnxruntime", "onnxruntime", error)]
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # By default, its threads spin after each run and slow down the decoding of the next photo.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: the warnings concern exporters
        careful = careful_options(model)
        for key, value in careful.items():
            options.add_session_config_entry(key, value)
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class but this
            from unet_edge.runtime.interpreter_problems import failed_attempt, refused_model

            attempt = failed_attempt("onnxruntime", "onnxruntime", error)
            raise refused_model(model, "onnx", attempt) from error
        self.name = f"onnxruntime {onnxruntime.__version__}" + (SUFFIX if careful else "")
        self._input = self._session.get_inputs()[0].name

    def _run(self, pixels: Pixels) -> NDArray[Any]:
        (result,) = self._session.run(None, {self._input: pixels[None]})
        output: NDArray[Any] = result[0]
        return output
