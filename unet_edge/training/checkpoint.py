"""Checkpoints: a run resumed from one gives the same result as without the interruption.

One file, replaced after each round, holds the variables of the model (with statistics and random
states) and of the optimiser, the best model so far and the history. It needs no state of the data:
a batch depends only on the seed and its number.

The file is an .npz after the SHA-256 of its bytes. zipfile does not detect all damage, and raises
a dozen kinds of errors for the rest.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import TrainingError
from unet_edge.system.files import sha256, write_atomically

Arrays = list[NDArray[Any]]

_DIGEST_SIZE = 64  # hexadecimal digits


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a round.

    `facts` are plain JSON values: the history, the best round with its confusion, the settings.
    """

    model: Arrays
    optimizer: Arrays
    best: Arrays
    facts: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the file in one step, so that an interruption keeps the old one."""
        arrays = {
            f"{group}/{index}": array
            for group in ("model", "optimizer", "best")
            for index, array in enumerate(getattr(self, group))
        }
        buffer = io.BytesIO()
        np.savez(buffer, facts=np.array(json.dumps(self.facts)), **arrays)
        data = buffer.getvalue()
        write_atomically(path, sha256(data).encode() + data)

    @property
    def rounds(self) -> int:
        """The number of finished rounds."""
        return len(self.facts["history"])

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a file that `write` wrote. Raises TrainingError for a damaged file."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TrainingError(f"cannot read {path}: {error.strerror or error}") from error
        digest, data = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if sha256(data).encode() != digest:
            raise TrainingError(
                "is damaged: its SHA-256 differs",
                fix="train again with --overwrite",
                subject=str(path),
            )
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            groups: dict[str, Arrays] = {"model": [], "optimizer": [], "best": []}
            for group, arrays in groups.items():
                while (name := f"{group}/{len(arrays)}") in stored:
                    arrays.append(stored[name])
            return cls(**groups, facts=json.loads(str(stored["facts"])))


def model_state(model: keras.Model) -> Arrays:
    """Return every variable of a model: weights, statistics and states of random layers."""
    return [np.asarray(variable) for variable in _variables(model)]


def restore_model(model: keras.Model, state: Arrays) -> None:
    """Restore what model_state returned. Raises TrainingError for another network."""
    _assign(_variables(model), state, "network")


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> Arrays:
    """Return every variable of a built optimiser: its step, moments and averages."""
    return [np.asarray(variable) for variable in optimizer.variables]


def restore_optimizer(optimizer: keras.optimizers.Optimizer, state: Arrays) -> None:
    """Restore what optimizer_state returned into an optimiser built for the same variables.

    Raises TrainingError for another optimiser.
    """
    _assign(optimizer.variables, state, "optimiser")


def _assign(variables: list[Any], state: Arrays, owner: str) -> None:
    shapes, stored = ([tuple(array.shape) for array in side] for side in (variables, state))
    if shapes != stored:
        raise TrainingError(
            f"the checkpoint is of another {owner}: it has {len(stored)} variables",
            expected=f"expected {len(shapes)} variables of the {owner}'s shapes",
            fix="restore the settings in progress/config.toml, or train again with --overwrite",
        )
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    # model.variables also has the metrics that compile() adds, and model.weights lacks the random
    # states of dropout.
    return [variable for layer in model.layers for variable in layer.variables]
