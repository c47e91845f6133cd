"""What every backend does: it turns a grid of pixels into class scores or labels."""

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
