"""A training run that exports in seconds: four layers, on generated pictures.

Not only for pytest: `export_in_children.py` and other programs use it too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FORMATS = "tflite-float16,tflite-int8,onnx-float32"


def make_data(root: Path) -> Path:
    """Write 6 training and 8 validation pictures of 48x40 px: a bright square on a dark ground."""
    random = np.random.default_rng(3)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(14):
        labels = np.zeros((40, 48), np.uint8)
        top, left = random.integers(4, 20, 2)
        labels[top : top + 14, left : left + 14] = 1
        shades = np.where(labels, 190, 60)[..., None] + random.normal(0, 12, (40, 48, 3))
        pixels = shades.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{index:02d}.png")
        Image.fromarray(labels).save(root / "masks" / f"{index:02d}.png")
    (root / "train.txt").write_text("".join(f"{index:02d}\n" for index in range(6)))
    (root / "val.txt").write_text("".join(f"{index:02d}\n" for index in range(6, 14)))
    return root


def make_run(root: Path) -> Path:
    """Write `root`/run as `unet-edge train` does, of a network that finds the squares."""
    import keras
    from keras import layers

    from unet_edge.images.placement import Placement
    from unet_edge.training.settings.network import Network
    from unet_edge.training.settings.train_config import TrainConfig

    config = TrainConfig(
        data=make_data(root / "data"),
        classes=("background", "square"),
        size=(32, 48),
        network=Network(architecture="unet_mini"),
        encoder_weights="none",
        name="squares",
    )
    keras.utils.set_random_seed(0)
    pixels = keras.Input((None, None, 3), name="pixels")
    x: Any = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    for strides in (2, 1):
        x = layers.ReLU(6.0)(layers.Conv2D(12, 3, strides, padding="same")(x))
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    model = keras.Model(pixels, layers.Conv2D(2, 3, padding="same", name="logits")(x))

    dataset, spec = config.dataset(), config.spec()
    grids, labels = [], []
    for sample in dataset.train:
        picture, truth = dataset.read(sample)
        placement = Placement.plan(picture.size, spec)
        grids.append(placement.place(picture))
        labels.append(placement.place_labels(truth).astype(np.int32))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile(keras.optimizers.Adam(0.01), loss)
    for _ in range(150):
        model.train_on_batch(np.stack(grids), np.stack(labels))

    run = root / "run"
    run.mkdir()
    model.save(run / "model.keras")
    (run / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    (run / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    return run
