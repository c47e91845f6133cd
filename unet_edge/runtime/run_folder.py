"""What an error says about a folder that should be a training run and is not, or not yet."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PROGRESS_FOLDER = "progress"
"""Exists in an unfinished run: its settings, split and, after the first round, a checkpoint."""
CHECKPOINT_FILE = "checkpoint"
"""In the progress folder: the state after the last complete round."""


class Absence(NamedTuple):
    """Why a folder lacks a file of a run, as the parts of an error."""

    found: str
    expected: str = ""
    fix: str = ""


def absence(run: Path, file: str, expected: str = "", fix: str = "") -> Absence:
    """Return why `file` is absent from `run`; `expected` and `fix` are for any other folder."""
    if not run.exists():
        return Absence(f"no such folder: {run}", fix="name a folder that 'unet-edge train' wrote")
    if not run.is_dir():
        return Absence(f"{run} is a file, not a folder", expected, fix)
    if (run / PROGRESS_FOLDER).is_dir():
        found = f"{run} is an unfinished run without a finished round, so it has no {file}"
        return Absence(found, fix=f"finish it with 'unet-edge resume {run}'")
    return Absence(f"{run} has no {file}", expected, fix)
