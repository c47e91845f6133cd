"""The check that a resumed run has the settings it began with."""

from __future__ import annotations

from pathlib import Path

from unet_edge.errors import ConfigError, TrainingError
from unet_edge.training.checkpoint import Checkpoint
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.toml import flattened, load_toml

# Settings that name the place of a file, or what is written beside the model.
_MAY_CHANGE = {
    *("data", "train_list", "validation_list", "test_list", "encoder_weights", "tensorboard"),
    "distillation.teacher",
}


def require_same_settings(config: TrainConfig, checkpoint: Checkpoint, path: Path) -> None:
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
