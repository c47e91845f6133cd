"""How a training run read its data, for commands that read it again, without TensorFlow."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, MOST_CONFIG, SPLIT_FILE
from unet_edge.system.files import read_regular


def run_settings(model: Path, data: Path) -> dict[str, Any]:
    """The data settings of the run that `model` is or belongs to; empty without a run.

    The run's lists are included only if `data` is the run's own data set.
    """
    run = run_of(model)
    if run is None:
        return {}
    config = _read_config(run)
    lists: dict[str, Any] = {
        name: Path(config[name])
        for name in ("train_list", "validation_list", "test_list")
        if isinstance(config.get(name), str)
    }
    rules: dict[str, Any] = {
        name: config[name]
        for name in ("masks", "ignore", "mask_names", "crowds", "split_by")
        if name in config
    }
    return rules | lists if _is_own(config, data) else rules


def run_split(model: Path) -> SplitNames | None:
    """The split of the run that `model` is or belongs to; None without a run or a split file."""
    run = run_of(model)
    if run is None or not (run / SPLIT_FILE).is_file():
        return None
    return SplitNames.read(run / SPLIT_FILE, gone="warning")


def is_own_data(model: Path, data: Path) -> bool:
    """Whether `data` is the data set of the run that `model` is or belongs to."""
    run = run_of(model)
    return run is not None and _is_own(_read_config(run), data)


def run_of(model: Path) -> Path | None:
    """The run that `model` is or belongs to, as a bundle does; None if there is none."""
    folders = (model, model.absolute().parent)
    runs = (f for f in folders if (f / CONFIG_FILE).is_file() and (f / KERAS_MODEL).is_file())
    return next(runs, None)


def _read_config(run: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_regular(run / CONFIG_FILE, MOST_CONFIG).decode())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read {run / CONFIG_FILE}: {reason}") from error
    except (ValueError, RecursionError) as error:  # not TOML or UTF-8, or thousands of brackets
        raise ConfigError(f"{run / CONFIG_FILE} is not TOML: {error}") from error


def _is_own(config: dict[str, Any], data: Path) -> bool:
    own = config.get("data")
    return isinstance(own, str) and Path(own).resolve() == data.resolve()
