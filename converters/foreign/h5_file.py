"""A complete model in HDF5, as Keras 2 saves it, and Keras 3 on request.

`keras.models.load_model` runs the code of a Lambda in such a file whatever `safe_mode` says
(CVE-2025-9905). Here the architecture is read from its JSON, and the weights as arrays.
"""

from __future__ import annotations

import math
from pathlib import Path

import keras

from converters.foreign.bounded_json import parse_json
from converters.foreign.graph import build_model
from converters.foreign.h5_weights import assign, read_layers
from converters.foreign.hdf5_file import open_hdf5, text
from converters.foreign.refusal import Refusal

_CONFIG = "model_config"


def read_h5_file(path: Path) -> keras.Model:
    """Read the model, not compiled. Raises Refusal, also for a file of weights alone."""
    with open_hdf5(path) as file:
        config = text(file, _CONFIG)
        if config is None:
            raise Refusal(
                "holds weights alone, not the network they belong to",
                "for the tutorial's networks add --architecture tutorial-mobilenet-unet or "
                "--architecture tutorial-unet-mini; for others save the model with "
                "model.save('model.keras')",
            )
        if "model_weights" not in file:
            raise Refusal("is damaged: it has an architecture and no weights")
        weights = file["model_weights"]
        stored = read_layers(weights)
        count = sum(math.prod(w.values.shape) for group in stored.values() for w in group)
        version = text(file, "keras_version") or text(weights, "keras_version") or "2"
        model = build_model(parse_json(config, _CONFIG), count, keras_2=not version.startswith("3"))
    assign(model, stored)
    return model
