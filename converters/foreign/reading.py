"""Open a Keras model that was trained elsewhere, running nothing that its file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras

from converters.foreign.settings import Architecture
from unet_edge.errors import ModelFileError
from unet_edge.runtime.backends.keras_model import load_keras

Kind = Literal["keras", "h5", "weights", "savedmodel"]
"""A `.keras` file, a complete model in HDF5, weights alone, a TensorFlow SavedModel."""


@dataclass(frozen=True)
class ForeignModel:
    """A model as its file describes it, not compiled.

    `source` is the file's path as text.
    """

    model: keras.Model
    source: str
    kind: Kind


def read_foreign(
    path: Path,
    *,
    architecture: Architecture | None = None,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> ForeignModel:
    """Open a model file of any supported kind; the content decides which, not the name.

    `architecture`, `classes` and `size` (height, width) describe the network of a file of weights
    alone, and are needed for it only. `size` may be left out: the network then takes any size.

    Raises ModelFileError when the file is missing, damaged, unsupported, or holds code.
    """
    if architecture is not None:
        raise ModelFileError(f"{path}: weights alone are not read yet")
    return ForeignModel(load_keras(path), str(path), "keras")
