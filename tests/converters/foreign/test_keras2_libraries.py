"""Models that segmentation_models and image-segmentation-keras made themselves, with Keras 2.

These libraries do not install beside Keras 3. Where a folder holds them, named by
FOREIGN_LIBRARIES, their own code builds and saves the models (see `keras2_libraries.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from foreign_models import keras2_libraries
from foreign_models.zoo import network

from converters.foreign.import_model import imported_model, open_foreign
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import InputScaling

SIZES = {"vgg-unet": 64, "unet-resnet18": 64, "mobilenet-segnet": 224}  # it takes 224 px alone
SETTINGS = (
    "filters", "kernel_size", "strides", "padding", "use_bias", "size", "interpolation",
    "epsilon", "pool_size",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "FOREIGN_LIBRARIES" not in os.environ, reason="FOREIGN_LIBRARIES names no folder"
    ),
]


@pytest.fixture(scope="module", params=keras2_libraries.NAMES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras2") / f"{request.param}.h5"
    program, size = keras2_libraries.__file__, SIZES[request.param]
    arguments = [os.environ["FOREIGN_LIBRARIES"], request.param, str(size), str(path)]
    subprocess.run([sys.executable, program, *arguments], check=True, capture_output=True)
    return path


def test_a_model_of_keras_2_gives_its_scores(saved: Path) -> None:
    entry = network(saved.stem)
    settings = ImportSettings(
        classes=("background", "object"),
        scaling=InputScaling((127.5,) * 3, (127.5,) * 3),
        range_name=None,
        name=saved.stem,
    )
    imported = imported_model(saved, open_foreign(saved, settings), settings)
    with np.load(f"{saved}.npz") as arrays:
        inputs, scores = arrays["inputs"], arrays["scores"]
    logits = np.asarray(imported.model((inputs + 1) * 127.5, training=False))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    if entry.output == "sigmoid":
        given = softmax[..., 1:]
    else:  # rows of pixels of half the size; every second of ours lies between four of them
        side = SIZES[saved.stem] // 2
        scores = scores.reshape(2, side, side, 2)
        inner = np.log(scores[..., 1] / scores[..., 0])
        theirs = bilinear_twice(inner)
        given, scores = logits[..., 1] - logits[..., 0], theirs
    # Both compute in float32, in another order: some 1e-6 of values below 100.
    np.testing.assert_allclose(given, scores, atol=1e-3)


def bilinear_twice(maps: np.ndarray) -> np.ndarray:
    """Maps (N, H, W) at twice the size, bilinearly, with centres of pixels at halves."""
    for axis in (1, 2):
        before = np.take(maps, np.maximum(np.arange(maps.shape[axis]) - 1, 0), axis)
        last = maps.shape[axis] - 1
        behind = np.take(maps, np.minimum(np.arange(maps.shape[axis]) + 1, last), axis)
        pairs = np.stack([0.75 * maps + 0.25 * before, 0.75 * maps + 0.25 * behind], axis + 1)
        shape = list(maps.shape)
        shape[axis] *= 2
        maps = pairs.reshape(shape)
    return maps


def test_our_new_implementation_has_the_librarys_layers(saved: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.h5"
    network(saved.stem).model(1, SIZES[saved.stem]).save(ours)
    assert layers_of(ours) == layers_of(saved)


def layers_of(path: Path) -> Counter[str]:
    """The layers of an .h5 file with their settings, counted; ReLU6 has several spellings."""
    with h5py.File(path) as file:
        config: Any = json.loads(file.attrs["model_config"])
    layers: Counter[str] = Counter()
    for layer in config["config"]["layers"]:
        kind, settings = layer["class_name"], layer["config"]
        if kind == "ReLU" or settings.get("activation") == "relu6":
            layers["ReLU6"] += 1
        elif kind != "InputLayer":
            chosen = {name: settings[name] for name in SETTINGS if name in settings}
            if kind == "DepthwiseConv2D":
                chosen.pop("filters", None)
            layers[f"{kind} {json.dumps(chosen)}"] += 1
    return layers
