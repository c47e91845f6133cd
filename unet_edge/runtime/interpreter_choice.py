"""Which interpreter opens a model: the named one, or the first of its format that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never, get_args

from unet_edge.errors import BackendError, ConfigError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime.backends.backend import Backend
from unet_edge.runtime.packages import PACKAGES, Package, format_read_by
from unet_edge.runtime.threads import thread_count

if TYPE_CHECKING:
    from unet_edge.runtime.interpreters import Attempt


def open_backend(
    model: bytes,
    file_format: Format,
    threads: int | None = None,
    backend: Package | None = None,
) -> Backend:
    """Open a model's bytes with `backend`, or with the first interpreter of its format that works.

    `threads` defaults to every processor this process may use, at most four (LiteRT's own
    default is one). Raises BackendError when no interpreter of the format works here or the
    working one refuses the model. Raises ConfigError when `backend` is unknown or reads another
    format, and when `threads` is out of range.
    """
    count = thread_count(threads)
    if backend is not None:
        require_package(backend)
        if backend not in PACKAGES[file_format]:
            raise ConfigError(
                f"{backend} reads .{format_read_by(backend)} files, but this is a "
                f".{file_format} file",
                fix=f"choose {' or '.join(PACKAGES[file_format])}",
            )
        return _build(backend, model, count)
    attempts: list[Attempt] = []
    for package in PACKAGES[file_format]:
        try:
            return _build(package, model, count)
        except BackendError as error:
            from unet_edge.runtime.interpreter_problems import NoInterpreterError

            if not isinstance(error, NoInterpreterError):
                raise  # the interpreter works, but refuses this model
            attempts += error.attempts
    raise NoInterpreterError(file_format, attempts)


def require_package(backend: str) -> None:
    """Raise ConfigError unless `backend` names a Package."""
    if backend not in get_args(Package):
        raise ConfigError(
            f"backend is {backend!r}",
            expected=f"it must be one of {', '.join(get_args(Package))}",
        )


def _build(package: Package, model: bytes, threads: int) -> Backend:
    match package:
        case "ai-edge-litert" | "tflite-runtime":
            from unet_edge.runtime.backends.litert import LiteRTBackend

            return LiteRTBackend(model, threads, package)
        case "onnxruntime":
            from unet_edge.runtime.backends.ort import OnnxRuntimeBackend

            return OnnxRuntimeBackend(model, threads)
        case "openvino":
            from unet_edge.runtime.backends.openvino import OpenVinoBackend

            return OpenVinoBackend(model, threads)
        case _:
            assert_never(package)
