"""Backends: one interpreter each behind one method.

A backend turns a grid of pixels into class scores or labels. `open_backend` picks one for a file's
format, or takes the one that is named.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, assert_never, get_args

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError, ConfigError
from unet_edge.images.placement import Labels, Pixels
from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime.packages import PACKAGES, Package, format_read_by

if TYPE_CHECKING:
    from unet_edge.runtime.interpreters import Attempt

Scores = NDArray[Any]
"""Class scores, shape (H, W, classes): float32 logits, or a file's own integers, which have one
scale and zero point for the whole tensor and so the same arg-max."""


class Backend(Protocol):
    """An opened model."""

    name: str
    """The interpreter and its version, for people."""

    quantisation: tuple[float, int] | None
    """Scale and zero point of integer scores: logit = scale * (score - zero point)."""

    def scores(self, pixels: Pixels) -> Scores:
        """Run the model on uint8 (H, W, 3), from any thread; the result is the caller's own.

        Raises BackendError when the interpreter fails, and when the file gives labels: it says how
        to export one with scores.
        """
        ...

    def labels(self, pixels: Pixels) -> Labels:
        """As `scores`, to labels, uint8 (H, W): the file's own, or the arg-max of its scores."""
        ...


class FileBackend(ABC):
    """A Backend of a file, which gives class scores or, exported with --labels, labels."""

    name: str
    quantisation: tuple[float, int] | None = None  # scores are logits

    def __init__(self) -> None:
        # An interpreter holds one set of tensors.
        self._lock = threading.Lock()

    def scores(self, pixels: Pixels) -> Scores:
        """Run the model; uint8 (H, W, 3) in, (H, W, C) out, float32 or the file's integers.

        Raises BackendError when the file gives labels.
        """
        return as_scores(self._one_run(pixels))

    def labels(self, pixels: Pixels) -> Labels:
        """Run the model; uint8 (H, W, 3) in, uint8 (H, W) out."""
        output = self._one_run(pixels)
        return output if output.ndim == 2 else to_labels(output)

    def _one_run(self, pixels: Pixels) -> NDArray[Any]:
        try:
            with self._lock:
                return self._run(pixels)
        except MemoryError:  # of a picture or of what else runs, not of the model
            raise
        except Exception as error:  # the interpreters' exceptions share no base class but this
            from unet_edge.runtime.availability import failed_run

            raise failed_run(self.name, error) from error

    @abstractmethod
    def _run(self, pixels: Pixels) -> NDArray[Any]:
        """What the file gives for uint8 (H, W, 3): scores (H, W, C), or labels (H, W).

        One thread at a time is in here. The result belongs to the caller.
        """


def open_backend(
    model: bytes,
    file_format: Format,
    threads: int | None = None,
    backend: Package | None = None,
) -> Backend:
    """Open a model's bytes with `backend`, or with the first interpreter of its format that works.

    `threads` defaults to every processor this process may use, at most four (LiteRT's own
    default is one). Raises BackendError when no interpreter for it works here or the one that
    works refuses the model, ConfigError for a `backend` that is none or reads another format and
    for more threads than `most_threads`.
    """
    count = thread_count(threads)
    if backend is not None:
        require_package(backend)
        if backend not in PACKAGES[file_format]:
            raise ConfigError(
                f"{backend} reads .{format_read_by(backend)} files, and this is a "
                f".{file_format} file",
                fix=f"choose {' or '.join(PACKAGES[file_format])}",
            )
        return _build(backend, model, count)
    attempts: list[Attempt] = []
    for package in PACKAGES[file_format]:
        try:
            return _build(package, model, count)
        except BackendError as error:
            from unet_edge.runtime.availability import NoInterpreterError

            if not isinstance(error, NoInterpreterError):
                raise  # it works, and does not take this model
            attempts += error.attempts
    raise NoInterpreterError(file_format, attempts)


def require_package(backend: str) -> None:
    """Raise ConfigError unless `backend` names a Package."""
    if backend not in get_args(Package):
        raise ConfigError(
            f"backend is {backend!r}",
            expected=f"known are {', '.join(get_args(Package))}",
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


MOST_THREADS = 4
"""A Raspberry Pi's processors, and where more stop paying for models of this size."""


def default_threads() -> int:
    """Processors this process may run on, at most MOST_THREADS."""
    return min(MOST_THREADS, processors())


def most_threads() -> int:
    """The most threads that may be asked for here: this machine's processors, at least four.

    Interpreters start as many as they are told to, and die or hang of a million.
    """
    return max(MOST_THREADS, os.cpu_count() or 1)


def thread_count(threads: int | None) -> int:
    """The number of threads asked for, or the default. Raises ConfigError for too many."""
    if threads is None:
        return default_threads()
    if not 1 <= threads <= most_threads():
        raise ConfigError(
            f"threads is {threads}",
            fix=(f"choose 1 to {most_threads()}, as this machine has {os.cpu_count()} processors"),
        )
    return threads


def processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def to_logits(scores: Scores, backend: Backend) -> NDArray[np.float32]:
    """The scores of `backend` as logits, float32 (H, W, classes)."""
    real = scores.astype(np.float32)
    if backend.quantisation is None:
        return real
    scale, zero_point = backend.quantisation
    return (real - np.float32(zero_point)) * np.float32(scale)


def as_scores(output: NDArray[Any]) -> Scores:
    """What a model gave, scores (H, W, C). Raises BackendError for labels, (H, W)."""
    if output.ndim == 2:
        raise no_scores()
    return output


def no_scores() -> BackendError:
    """The error of asking a file of labels for scores."""
    return BackendError(
        "this file holds each pixel's class, but no scores",
        fix="fix with: unet-edge export RUN (without --labels)",
    )


def to_labels(scores: Scores) -> NDArray[np.uint8]:
    """Arg-max over the classes of (H, W, C) scores, the first on a tie: uint8 (H, W).

    For few classes a running comparison beats NumPy's argmax: at 512x512 in float32, 20 times
    for two classes, twice for three, level at five; from eight on it loses.
    """
    labels: NDArray[np.uint8]
    if scores.shape[-1] > 5:
        labels = scores.argmax(axis=-1).astype(np.uint8)
        return labels
    labels = (scores[..., 1] > scores[..., 0]).view(np.uint8)
    if scores.shape[-1] == 2:
        return labels
    best = np.maximum(scores[..., 0], scores[..., 1])
    for index in range(2, scores.shape[-1]):
        candidate = scores[..., index]
        labels[candidate > best] = index
        np.maximum(best, candidate, out=best)
    return labels
