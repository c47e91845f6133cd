"""Open a Keras model that was trained elsewhere, running nothing that its file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras

from converters.foreign.file_kind import FileKind, kind_of
from converters.foreign.h5_file import read_h5_file
from converters.foreign.keras_file import read_keras_file
from converters.foreign.refusal import Refusal
from converters.foreign.saved_model import read_saved_model
from converters.foreign.settings import Architecture
from converters.foreign.weights_file import read_weights_file
from unet_edge.errors import ModelFileError
from unet_edge.system.captured_output import captured_output


@dataclass(frozen=True)
class ForeignModel:
    """A model as its file describes it, not compiled.

    `source` is the file's path as text; "weights" is a file of weights alone.
    """

    model: keras.Model
    source: str
    kind: FileKind | Literal["weights"]


def read_foreign(
    path: Path,
    *,
    architecture: Architecture | None = None,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> ForeignModel:
    """Open a model file of any supported kind; the content decides which, not the name.

    `architecture`, `classes` and `size` (height, width) describe the network of a file of weights
    alone, and are needed for it only. Without `size` the network takes any size.

    Layers that change nothing outside training (dropout, augmentation) become Dropout of rate 0.

    Raises ModelFileError when the file is missing, damaged, unsupported, or holds code.
    """
    try:
        kind = kind_of(path)
        with captured_output():  # TensorFlow prints on standard error
            if architecture is not None:
                model = read_weights_file(path, kind, architecture, classes, size)
                return ForeignModel(model, str(path), "weights")
            match kind:
                case "keras":
                    model = read_keras_file(path)
                case "h5":
                    model = read_h5_file(path)
                case "savedmodel":
                    model = read_saved_model(path)
    except Refusal as refusal:
        raise ModelFileError(refusal.reason, fix=refusal.fix, subject=str(path)) from refusal
    except Exception as error:  # a file that was made to break something still ends in one line
        raise ModelFileError(f"{path} is damaged: {error!r}", fix="copy it again") from error
    return ForeignModel(model, str(path), kind)
