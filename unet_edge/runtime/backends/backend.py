"""The interface of backends: from a grid of pixels to class scores or labels."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError
from unet_edge.images.placement import Labels, Pixels
from unet_edge.runtime.argmax import to_labels

Scores = NDArray[Any]
"""Class scores, shape (H, W, classes): float32 logits or integers. Integers have one scale and zero
point for the whole tensor, so their arg-max is that of the logits."""


class Backend(Protocol):
    """An opened model."""

    name: str
    """The interpreter and its version, for people."""

    quantisation: tuple[float, int] | None
    """Scale and zero point of integer scores: logit = scale * (score - zero point)."""

    def scores(self, pixels: Pixels) -> Scores:
        """Run the model on uint8 (H, W, 3), from any thread; the result belongs to the caller.

        Raises BackendError when the interpreter fails or the file outputs labels.
        """
        ...

    def labels(self, pixels: Pixels) -> Labels:
        """As `scores`, but return labels, uint8 (H, W): the file's own or the arg-max of scores."""
        ...


class FileBackend(ABC):
    """A Backend of a file, which outputs class scores or, exported with --labels, labels."""

    name: str
    quantisation: tuple[float, int] | None = None  # scores are logits

    def __init__(self) -> None:
        # An interpreter has one set of tensors.
        self._lock = threading.Lock()

    def scores(self, pixels: Pixels) -> Scores:
        """Run the model; uint8 (H, W, 3) in, (H, W, C) out, float32 or the file's integers.

        Raises BackendError when the interpreter fails or the file outputs labels.
        """
        return as_scores(self._locked_run(pixels))

    def labels(self, pixels: Pixels) -> Labels:
        """Run the model; uint8 (H, W, 3) in, uint8 (H, W) out."""
        output = self._locked_run(pixels)
        return output if output.ndim == 2 else to_labels(output)

    def _locked_run(self, pixels: Pixels) -> NDArray[Any]:
        try:
            with self._lock:
                return self._run(pixels)
        except MemoryError:  # not the model's fault
            raise
        except Exception as error:  # the interpreters' exceptions share no base class but this
            from unet_edge.runtime.interpreter_problems import failed_run

            raise failed_run(self.name, error) from error

    @abstractmethod
    def _run(self, pixels: Pixels) -> NDArray[Any]:
        """Run the model on uint8 (H, W, 3); return scores (H, W, C) or labels (H, W).

        One thread at a time calls this. The result belongs to the caller.
        """


def to_logits(scores: Scores, backend: Backend) -> NDArray[np.float32]:
    """Convert scores of `backend` to logits, float32 (H, W, classes)."""
    real = scores.astype(np.float32)
    if backend.quantisation is None:
        return real
    scale, zero_point = backend.quantisation
    return (real - np.float32(zero_point)) * np.float32(scale)


def as_scores(output: NDArray[Any]) -> Scores:
    """The output of a model if it is scores, (H, W, C). Raises BackendError for labels, (H, W)."""
    if output.ndim == 2:
        raise no_scores()
    return output


def no_scores() -> BackendError:
    """The error of a file that outputs labels where scores are needed."""
    return BackendError(
        "this file outputs the class of each pixel, but no scores",
        fix="run: unet-edge export RUN (without --labels)",
    )
