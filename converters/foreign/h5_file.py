"""A complete model in HDF5, as Keras 2 saves it, and Keras 3 on request.

`keras.models.load_model` runs the code of a Lambda in such a file whatever `safe_mode` says
(CVE-2025-9905). Here the architecture is read from its JSON, and the weights as arrays.
"""

from __future__ import annotations

from pathlib import Path

import keras

from converters.foreign.bounded_json import parse_json
from converters.foreign.graph import build_model
from converters.foreign.h5_weights import MODEL_WEIGHTS, assign, read_layers
from converters.foreign.hdf5_content import read_hdf5
from converters.foreign.refusal import Refusal

_CONFIG = "model_config"


def read_h5_file(path: Path) -> keras.Model:
    """Read the model, not compiled. Raises Refusal, also for a file of weights alone."""
    content = read_hdf5(path)
    config = content.text("/", _CONFIG)
    if config is None:
        raise Refusal(
            "holds weights alone, not the network they belong to",
            "for the tutorial's networks add --architecture tutorial-mobilenet-unet or "
            "--architecture tutorial-unet-mini; for others save the model with "
            "model.save('model.keras')",
        )
    stored = read_layers(content, MODEL_WEIGHTS)
    version = content.text("/", "keras_version") or content.text(MODEL_WEIGHTS, "keras_version")
    # tf_keras, which continues Keras 2, counts as TensorFlow does; before 2.0 no version stood.
    keras_2 = not str(version).startswith("3")
    model = build_model(parse_json(config, _CONFIG), content.count, keras_2=keras_2)
    assign(model, stored)
    return model
