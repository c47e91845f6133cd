"""The files that a training run keeps in its folder, beside those that other parts read too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from unet_edge.dataset import Dataset
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError
from unet_edge.runtime.run_folder import CHECKPOINT_FILE, PROGRESS_FOLDER, is_imported
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, SPLIT_FILE
from unet_edge.system.files import write_atomically
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.starting_run import StartingRun

if TYPE_CHECKING:
    import keras

RESULT_FILE = "result.json"
LAST_MODEL = "last.keras"
SAMPLES_FOLDER = "samples"


def require_free_folder(run: Path, *, overwrite: bool, leads: bool) -> None:
    """Raise ConfigError if a new run would replace files in the folder."""
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run} is a file", fix="choose another --output")
    if is_imported(run):
        raise ConfigError(f"{run} holds an imported model", fix="choose another --output")
    unfinished = (run / PROGRESS_FOLDER).is_dir()
    if unfinished and not overwrite and leads:
        raise ConfigError(
            f"{run} holds an unfinished run",
            fix=(
                f"finish it with 'unet-edge resume {run}', choose another --output or pass "
                "--overwrite"
            ),
        )
    if (run / KERAS_MODEL).exists() and not overwrite:
        raise ConfigError(
            f"{run} already holds a trained model",
            fix="choose another --output or pass --overwrite",
        )
    occupied = run.is_dir() and any(not path.name.startswith(".") for path in run.iterdir())
    if occupied and not (run / CONFIG_FILE).is_file() and not unfinished:
        raise ConfigError(f"{run} holds files that are not a run's", fix="choose another --output")


def require_unfinished(run: Path) -> None:
    """Raise ConfigError unless the folder holds an unfinished run."""
    if (run / PROGRESS_FOLDER / CONFIG_FILE).is_file():
        return
    if not run.exists():
        raise ConfigError(
            f"no such folder: {run}", fix="name a folder that 'unet-edge train' wrote"
        )
    if is_imported(run):
        raise ConfigError(
            f"{run} is an imported model, which has no training to resume",
            fix=f"run: unet-edge train DATA --weights {run} -o runs/NEW",
        )
    if (run / RESULT_FILE).is_file():
        raise ConfigError(f"{run} is finished", fix=f"export it with 'unet-edge export {run}'")
    raise ConfigError(f"{run} is not an unfinished run", fix="start one with 'unet-edge train'")


def begin_progress(
    run: Path,
    config: TrainConfig,
    dataset: Dataset,
    start: StartingRun | None,
    *,
    keep_checkpoint: bool,
) -> None:
    """Write the files that make a run unfinished; `resume` needs them."""
    folder = run / PROGRESS_FOLDER
    if not keep_checkpoint:  # it would be an earlier run's
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    if start is not None:
        start.keep(run)
    write_atomically(folder / SPLIT_FILE, SplitNames.of(dataset).to_json())
    write_atomically(folder / CONFIG_FILE, config.to_toml())


def end_progress(run: Path) -> None:
    """Remove the files that make a run unfinished."""
    # Renamed first: an interruption must not leave a part of the folder.
    aside = run / f".{PROGRESS_FOLDER}-{os.getpid()}"
    (run / PROGRESS_FOLDER).rename(aside)
    shutil.rmtree(aside)


def save_model(model: keras.Model, path: Path) -> None:
    """Save a .keras file in one step, so that an interruption keeps the old file."""
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        model.save(aside)  # Keras only writes to names that end in .keras
        write_atomically(path, aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)
