"""What an interrupted run needs to go on exactly as if nothing had happened.

Everything that the next round depends on is in one file, written aside and renamed after each
round: the model's variables (statistics and random states too), the optimiser's, the best model
so far and the history. What batch k of round r shows depends on the seed, r and k alone, so no
state of the data is needed.

The file is an .npz behind the SHA-256 of its bytes: flipped bytes make zipfile raise a dozen kinds
of errors, or none at all.
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
    """A run after a round. `facts` are plain JSON values: rounds done, history, best entry."""

    model: Arrays
    optimizer: Arrays
    best: Arrays
    facts: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write all of it, or leave what was there."""
        arrays = {
            f"{group}/{index}": array
            for group in ("model", "optimizer", "best")
            for index, array in enumerate(getattr(self, group))
        }
        buffer = io.BytesIO()
        np.savez(buffer, facts=np.array(json.dumps(self.facts)), **arrays)
        data = buffer.getvalue()
        write_atomically(path, sha256(data).encode() + data)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what `write` wrote. Raises TrainingError for a damaged file."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TrainingError(f"cannot read {path}: {error.strerror or error}") from error
        digest, data = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if sha256(data).encode() != digest:
            raise TrainingError(
                f"{path} is damaged (its SHA-256 differs)",
                fix="train again with --overwrite",
            )
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            groups: dict[str, Arrays] = {"model": [], "optimizer": [], "best": []}
            for group, arrays in groups.items():
                while (name := f"{group}/{len(arrays)}") in stored:
                    arrays.append(stored[name])
            return cls(**groups, facts=json.loads(str(stored["facts"])))


def model_state(model: keras.Model) -> Arrays:
    """Every variable of a model: weights, statistics and the states of its random layers."""
    return [np.asarray(variable) for variable in _variables(model)]


def restore_model(model: keras.Model, state: Arrays) -> None:
    """Put back what model_state took. Raises TrainingError where it was of another network."""
    _assign(_variables(model), state, "network")


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> Arrays:
    """Every variable of an optimiser that has been built: its step, moments and averages."""
    return [np.asarray(variable) for variable in optimizer.variables]


def restore_optimizer(optimizer: keras.optimizers.Optimizer, state: Arrays) -> None:
    """Put back what optimizer_state took, into an optimiser built for the same variables.

    Raises TrainingError where it was of another optimiser.
    """
    _assign(optimizer.variables, state, "optimiser")


def _assign(variables: list[Any], state: Arrays, what: str) -> None:
    shapes, stored = ([tuple(array.shape) for array in side] for side in (variables, state))
    if shapes != stored:
        raise TrainingError(
            f"the checkpoint is of another {what} ({len(stored)} variables, now "
            f"{len(shapes)}, or of other shapes)",
            fix=("restore the settings in progress/config.toml, or train anew with --overwrite"),
        )
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    # Not model.variables, which adds the metrics that compile() makes, nor model.weights, which
    # leaves out the random states of dropout.
    return [variable for layer in model.layers for variable in layer.variables]
