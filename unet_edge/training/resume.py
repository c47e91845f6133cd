"""Resume an interrupted training run, with the settings that it began with."""

from __future__ import annotations

from pathlib import Path

from unet_edge.errors import ConfigError, TrainingError
from unet_edge.runtime.run_folder import CHECKPOINT_FILE, PROGRESS_FOLDER
from unet_edge.runtime.segmenter import CONFIG_FILE
from unet_edge.training.checkpoint import Checkpoint
from unet_edge.training.config import load_run_config
from unet_edge.training.distribution import Machines
from unet_edge.training.run import Say, fit, leads
from unet_edge.training.run_files import require_unfinished
from unet_edge.training.run_lock import RunLock
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.starting_run import StartingRun
from unet_edge.training.toml import flattened, load_toml
from unet_edge.training.train_result import TrainResult

# Settings that name the place of a file, or what is written beside the model.
_MAY_CHANGE = {
    *("data", "train_list", "validation_list", "test_list", "tensorboard"),
    *("encoder_weights", "weights"),
    "distillation.teacher",
}


def resume(
    run: Path, *, machines: Machines | None = None, say: Say = lambda _: None
) -> TrainResult:
    """Finish an interrupted run from its last complete round, with the same result.

    Raises ConfigError if there is no interrupted run, or if its settings changed, and otherwise as
    `train`.
    """
    progress_folder = run / PROGRESS_FOLDER
    with RunLock(run) as lock:
        if run.is_dir() and leads(machines):
            lock.acquire()
        require_unfinished(run)
        config = load_run_config(progress_folder / CONFIG_FILE)
        checkpoint = None
        if (path := progress_folder / CHECKPOINT_FILE).is_file():
            checkpoint = Checkpoint.read(path)
            _require_same_settings(config, checkpoint, progress_folder / CONFIG_FILE)
        start = None
        if config.weights is not None:
            start = StartingRun.kept(run, config.weights, config.network, config.weights_sha256)
        return fit(config, run, start, checkpoint, lock, machines, say)


def _require_same_settings(config: TrainConfig, checkpoint: Checkpoint, path: Path) -> None:
    """Raise ConfigError if the config.toml at `path` has changed since the run began."""
    if "settings" not in checkpoint.facts:
        raise TrainingError(
            f"{path.parent} holds a checkpoint without the settings it was made with",
            fix="train again with --overwrite",
        )
    old = flattened(load_toml(checkpoint.facts["settings"], "the checkpoint"))
    new = flattened(load_toml(config.to_toml(), str(path)))
    changed = [
        f"{name} was {old.get(name, 'not set')}, now {new.get(name, 'not set')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in _MAY_CHANGE
    ]
    if changed:
        raise ConfigError(
            f"{path} was changed since the run began: {'; '.join(changed)}",
            fix=(
                f"restore it, or train again with 'unet-edge train --config {path}' and another "
                "--output"
            ),
        )
