"""What an HDF5 file of Keras holds, read by a child process that may die of a damaged file."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from converters.foreign.refusal import Refusal
from unet_edge.system.child_process import run_child

MODULE = "converters.foreign.hdf5_child"
_SECONDS = 600  # 4 GiB from a slow disk; HDF5 can also loop without end in a damaged file


@dataclass(frozen=True)
class Hdf5Content:
    """The weights in float32 by their path, and attributes by the path of their group.

    Attributes are `model_config` and `keras_version` (text), `layer_names` and `weight_names`
    (lists of text).
    """

    arrays: dict[str, NDArray[np.float32]]
    attributes: dict[str, dict[str, Any]]

    @property
    def count(self) -> int:
        """The number of values of all weights."""
        return sum(array.size for array in self.arrays.values())

    def text(self, group: str, name: str) -> str | None:
        """An attribute of text; None without it."""
        value: str | None = self.attributes.get(group, {}).get(name)
        return value

    def names(self, group: str, name: str) -> list[str] | None:
        """An attribute of names; None without it."""
        value: list[str] | None = self.attributes.get(group, {}).get(name)
        return value

    def write(self, path: Path) -> None:
        """Write the weights into a new HDF5 file, which the library then reads without risk."""
        with h5py.File(path, "w") as file:
            for name, values in self.arrays.items():
                file[name] = values


def read_hdf5(path: Path) -> Hdf5Content:
    """Read a file. Raises Refusal for damage, links, data outside the file, absurd sizes."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "weights.npz"
        child = run_child(
            MODULE,
            {"source": str(path.absolute()), "target": str(target)},
            _SECONDS,
        )
        try:
            answer = json.loads(child.output)
        except ValueError:
            raise Refusal(f"is damaged: reading it as HDF5 {child.failure}") from None
        if "refused" in answer:
            raise Refusal(*answer["refused"])
        with np.load(target, allow_pickle=False) as arrays:
            values = {name: arrays[f"arr_{index}"] for index, name in enumerate(answer["arrays"])}
    return Hdf5Content(values, answer["attributes"])
