"""Reading the config.toml of a run, and the data that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unet_edge.dataset import Dataset
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError
from unet_edge.runtime.run_folder import absence, is_imported
from unet_edge.runtime.segmenter import CONFIG_FILE, MOST_CONFIG, SPLIT_FILE
from unet_edge.system.files import read_regular
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.toml import load_toml


def read_config(run: Path) -> TrainConfig:
    """Read the settings of a training run. Raises ConfigError if the folder is not a run."""
    if is_imported(run):
        raise ConfigError(
            f"{run} is an imported model, which has no settings of a training",
            fix="name a run that 'unet-edge train' wrote",
        )
    if not (run / CONFIG_FILE).is_file():
        found, expected, fix = absence(
            run,
            CONFIG_FILE,
            expected="a training run has one",
            fix="make a run with 'unet-edge train'",
        )
        raise ConfigError(found, expected=expected, fix=fix)
    return load_run_config(run / CONFIG_FILE)


def load_run_config(path: Path) -> TrainConfig:
    """Read the settings that a run wrote. Raises ConfigError."""
    return TrainConfig.from_dict(load_toml(_read(path), str(path)), str(path))


def run_dataset(run: Path) -> Dataset:
    """Read the data of a run with the split of its split file.

    Without a split file, the data is split again. Raises ConfigError and DataError.
    """
    path = run / SPLIT_FILE
    return read_config(run).dataset(
        SplitNames.read(path, gone="warning") if path.is_file() else None
    )


def load_settings(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings as plain values, not checked yet. Raises ConfigError."""
    return load_toml(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        return read_regular(path, MOST_CONFIG).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
