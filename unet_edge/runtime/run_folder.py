"""What a folder that should be a run is: a run, an imported model, or something else, as errors.

A run's folder holds model.keras and spec.json. A training adds config.toml and split.json, an
import adds imported.json.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

PROGRESS_FOLDER = "progress"
"""Exists in an unfinished run: its settings, split and, after the first round, a checkpoint."""
CHECKPOINT_FILE = "checkpoint"
"""In the progress folder: the state after the last complete round."""
IMPORTED_FILE = "imported.json"
"""Exists in the folder of an imported model, which has no settings and no split."""

_FOREIGN_SUFFIXES = (".h5", ".hdf5", ".keras")
_SAVED_MODEL = "saved_model.pb"
_CONTRACT = "spec.json"  # SPEC_FILE of the segmenter, which imports this module


class Absence(NamedTuple):
    """Why a folder lacks a file of a run, as the parts of an error."""

    found: str
    expected: str = ""
    fix: str = ""


def absence(run: Path, file: str, expected: str = "", fix: str = "") -> Absence:
    """Return why `file` is absent from `run`; `expected` and `fix` are for any other folder."""
    if not run.exists():
        return Absence(f"no such folder: {run}", fix="name a folder that 'unet-edge train' wrote")
    if is_foreign_model(run):
        return foreign_model(run)
    if not run.is_dir():
        return Absence(f"{run} is a file, not a folder", expected, fix)
    if (run / PROGRESS_FOLDER).is_dir():
        found = f"{run} is an unfinished run without a finished round, so it has no {file}"
        return Absence(found, fix=f"finish it with 'unet-edge resume {run}'")
    return Absence(f"{run} has no {file}", expected, fix)


def is_imported(run: Path) -> bool:
    """Whether a folder is a run that `unet-edge import` wrote."""
    return (run / IMPORTED_FILE).is_file()


def is_foreign_model(path: Path) -> bool:
    """Whether a path names a Keras model or SavedModel, which has no contract of its own."""
    if path.is_dir():
        return (path / _SAVED_MODEL).is_file()
    if not path.is_file() or path.suffix.lower() not in _FOREIGN_SUFFIXES:
        return False
    return path.suffix != ".keras" or not (path.parent / _CONTRACT).is_file()


def foreign_model(path: Path) -> Absence:
    """Return what an error says of a Keras model without a contract, and the command to import it.

    The command then names the options that it needs.
    """
    command = shlex.join(["unet-edge", "import", str(path), "-o", f"runs/{path.stem}"])
    return Absence(f"{path} is a Keras model without a contract", fix=f"run: {command}")
