"""What an interrupted run needs to go on exactly as if nothing had happened.

Everything that the next round depends on is in one file, written aside and renamed after each
round: the model's variables (statistics and random states too), the optimiser's, the best model
so far and the history. What batch k of round r shows depends on the seed, r and k alone, so no
state of the data is needed.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import TrainingError
from unet_edge.files import write_atomically

Arrays = list[NDArray[Any]]


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
        write_atomically(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what `write` wrote. Raises TrainingError for a damaged file."""
        try:
            with np.load(path, allow_pickle=False) as data:
                groups: dict[str, Arrays] = {"model": [], "optimizer": [], "best": []}
                for group, arrays in groups.items():
                    while (name := f"{group}/{len(arrays)}") in data:
                        arrays.append(data[name])
                return cls(**groups, facts=json.loads(str(data["facts"])))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(
                f"{path} is damaged ({error}); train again with --overwrite"
            ) from error


def model_state(model: keras.Model) -> Arrays:
    """Every variable of a model: weights, statistics and the states of its random layers."""
    return [np.asarray(variable) for variable in _variables(model)]


def restore_model(model: keras.Model, state: Arrays) -> None:
    """Put back what model_state took."""
    for variable, value in zip(_variables(model), state, strict=True):
        variable.assign(value)


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> Arrays:
    """Every variable of an optimiser that has been built: its step, moments and averages."""
    return [np.asarray(variable) for variable in optimizer.variables]


def restore_optimizer(optimizer: keras.optimizers.Optimizer, state: Arrays) -> None:
    """Put back what optimizer_state took, into an optimiser built for the same variables."""
    for variable, value in zip(optimizer.variables, state, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    # Not model.variables, which adds the metrics that compile() makes, nor model.weights, which
    # leaves out the random states of dropout.
    return [variable for layer in model.layers for variable in layer.variables]
