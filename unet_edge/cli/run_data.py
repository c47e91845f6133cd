"""How a training run read its data, for commands that read it again. No TensorFlow."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, MOST_CONFIG, SPLIT_FILE
from unet_edge.system.files import read_regular


def run_settings(model: Path, data: Path) -> dict[str, Any]:
    """How the run that `model` is, or lies in, read its data; empty elsewhere."""
    run = run_of(model)
    if run is None:
        return {}
    written = _read_config(run)
    lists: dict[str, Any] = {
        name: Path(written[name])
        for name in ("train_list", "validation_list", "test_list")
        if isinstance(written.get(name), str)
    }
    rules: dict[str, Any] = {
        name: written[name]
        for name in ("masks", "ignore", "mask_names", "crowds", "split_by")
        if name in written
    }
    # The lists name the run's own pictures.
    return rules | lists if _is_own(written, data) else rules


def run_split(model: Path, data: Path) -> SplitNames | None:
    """The split of the run that `model` is, or lies in, if these are its own pictures."""
    run = run_of(model)
    if run is None or not (run / SPLIT_FILE).is_file() or not _is_own(_read_config(run), data):
        return None
    return SplitNames.read(run / SPLIT_FILE, gone="warning")


def run_of(model: Path) -> Path | None:
    """The run that `model` is, or lies in; None where there is none."""
    folders = (model, model.absolute().parent)
    found = (f for f in folders if (f / CONFIG_FILE).is_file() and (f / KERAS_MODEL).is_file())
    return next(found, None)


def _read_config(run: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_regular(run / CONFIG_FILE, MOST_CONFIG).decode())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read {run / CONFIG_FILE}: {reason}") from error
    except (ValueError, RecursionError) as error:  # no TOML or UTF-8, thousands of brackets
        raise ConfigError(f"{run / CONFIG_FILE} is not TOML: {error}") from error


def _is_own(written: dict[str, Any], data: Path) -> bool:
    own = written.get("data")
    return isinstance(own, str) and Path(own).resolve() == data.resolve()
