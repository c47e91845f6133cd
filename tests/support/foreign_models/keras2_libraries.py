"""Save networks that segmentation_models and image-segmentation-keras build, by their own code.

    python keras2_libraries.py LIBRARIES NAME SIZE FILE

LIBRARIES is a folder that holds them and Keras 2. They ask for packages as old as they are, so they
are installed apart and without those:

    pip install --no-deps --target LIBRARIES tf-keras segmentation-models image-classifiers \\
        efficientnet keras-applications keras-segmentation

Writes the untrained model to FILE, an .h5 in Keras 2's format, and beside it an .npz: its inputs,
float32, and the scores that Keras 2 gives for them. Runs in a process of its own, because
TensorFlow takes one Keras.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from typing import Any

NAMES = ("vgg-unet", "mobilenet-segnet", "unet-resnet18")


class _Keras2(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes `import keras`, which image-segmentation-keras says, the import of tf_keras."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == "keras" or name.startswith("keras."):
            return importlib.util.spec_from_loader(name, self)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return importlib.import_module(f"tf_{spec.name}")

    def exec_module(self, module: types.ModuleType) -> None:
        """The module has run already."""


def build(name: str, size: int) -> Any:
    """The model as its library makes it, without pretrained weights."""
    if name == "unet-resnet18":
        segmentation_models = importlib.import_module("segmentation_models")
        return segmentation_models.Unet(
            "resnet18", encoder_weights=None, input_shape=(size, size, 3)
        )
    for absent in ("imgaug", "imageio"):  # for its augmentation and its reading, not for models
        module: Any = types.ModuleType(absent)
        sys.modules[absent] = module
        module.augmenters = sys.modules[f"{absent}.augmenters"] = types.ModuleType("augmenters")
    models = "keras_segmentation.models"
    encoder = importlib.import_module(f"{models}.{'vgg16' if name == 'vgg-unet' else 'mobilenet'}")
    decoder: Any = importlib.import_module(f"{models}.{'unet' if name == 'vgg-unet' else 'segnet'}")
    kind = "vgg" if name == "vgg-unet" else "mobilenet"
    own = getattr(encoder, f"get_{kind}_encoder")

    def without_download(input_height: int, input_width: int, **_: Any) -> Any:
        return own(input_height=input_height, input_width=input_width, pretrained=None)

    setattr(decoder, f"get_{kind}_encoder", without_download)
    make = decoder.vgg_unet if name == "vgg-unet" else decoder.mobilenet_segnet
    return make(2, input_height=size, input_width=size)


def main(libraries: str, name: str, size: str, path: str) -> None:
    """Build, predict and save."""
    os.environ.update(TF_USE_LEGACY_KERAS="1", SM_FRAMEWORK="tf.keras", TF_CPP_MIN_LOG_LEVEL="3")
    sys.path.insert(0, libraries)
    import numpy as np

    importlib.import_module("tensorflow")
    importlib.import_module("tf_keras")
    for module in [each for each in sys.modules if each.split(".")[0] == "keras"]:
        del sys.modules[module]
    sys.meta_path.insert(0, _Keras2())
    model = build(name, int(size))
    rng = np.random.default_rng(0)
    # BatchNorm layers that have seen pictures: their first values, 0 and 1, hide many errors.
    for weight in model.weights:
        if "moving_mean" in weight.name or "beta" in weight.name:
            weight.assign(rng.normal(0, 0.1, weight.shape))
        elif "moving_variance" in weight.name or "gamma" in weight.name:
            weight.assign(rng.uniform(0.7, 1.4, weight.shape))
    inputs = rng.uniform(-1, 1, (2, int(size), int(size), 3)).astype(np.float32)
    np.savez(f"{path}.npz", inputs=inputs, scores=model.predict(inputs, verbose=0))
    model.save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
