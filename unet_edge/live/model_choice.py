"""The files of a bundle that a live server can run, and the change from one to another."""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.errors import BackendError, ConfigError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime.interpreters import INTERPRETERS
from unet_edge.runtime.packages import Package, format_read_by
from unet_edge.runtime.segmenter import Segmenter


class ChangeUnderwayError(ConfigError):
    """Another change of the model has not finished."""


@dataclass(frozen=True)
class ModelOptions:
    """How files are opened: number of threads, and the interpreter's package."""

    threads: int | None = None
    backend: Package | None = None


class ModelChoice:
    """Opens files of a bundle, or of the single model file or run at `path`."""

    def __init__(self, path: Path, options: ModelOptions) -> None:
        """Read the bundle's manifest. Raises BundleError."""
        self.path = path
        self.bundle = Bundle.open(path) if (path / MANIFEST).exists() else None
        self._options = options
        self._failed: set[str] = set()  # files that could not be opened here
        self._changing = threading.Lock()

    def open(self, file: str | None = None, threads: int | None = None) -> Segmenter:
        """Open a file, or the bundle's best one, and run it once.

        `threads` is used in place of the options'. Raises UnetEdgeError.
        """
        backend = self._options.backend
        # The command's interpreter may read only one of the bundle's formats.
        if file and self.bundle and backend:
            file_format = self.bundle.file(file).format
            backend = backend if format_read_by(backend) == file_format else None
        segmenter = Segmenter.open(
            self.path, file=file, threads=threads or self._options.threads, backend=backend
        )
        # A file that an interpreter accepts may still fail when it runs.
        segmenter.segment(np.zeros((*segmenter.spec.size, 3), np.uint8))
        return segmenter

    def change(self, file: str) -> Segmenter:
        """Open another file of the bundle.

        Raises ChangeUnderwayError while another thread does so, BackendError or another
        UnetEdgeError if the file cannot run.
        """
        if not self._changing.acquire(blocking=False):
            raise ChangeUnderwayError("another model is being opened", fix="try again when it is")
        try:
            segmenter = self.open(file)
            self._failed.discard(file)
            return segmenter
        except BackendError:
            self._failed.add(file)
            raise
        finally:
            self._changing.release()

    def files(self) -> list[dict[str, Any]]:
        """The bundle's files as plain JSON values; `runs` says whether they may run here."""
        if self.bundle is None:
            return []
        return [
            {
                "name": entry.name,
                "agreement": entry.agreement,
                "kept_floor": entry.kept_floor,
                "runs": entry.name not in self._failed and _has_interpreter(entry.format),
            }
            for entry in self.bundle.files
        ]


def _has_interpreter(file_format: Format) -> bool:
    return any(
        importlib.util.find_spec(interpreter.module) is not None
        for interpreter in INTERPRETERS
        if interpreter.format == file_format
    )
