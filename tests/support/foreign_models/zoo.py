"""The list of foreign networks: how each is built, what its input holds, how it is saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from foreign_models.image_segmentation_keras import mobilenet_segnet, vgg_unet
from foreign_models.keras_io import deeplabv3_plus, oxford_pets
from foreign_models.segmentation_models import unet_resnet
from foreign_models.tutorial import mobilenet_unet, save_weights_as_keras2, unet_mini

Range = Literal["-1..1", "0..1", "0..255", "caffe", "imagenet"]


@dataclass(frozen=True)
class ForeignNetwork:
    """One network: `build(width, size, classes)` and the conventions of its library.

    `saved` is the file's kind: weights alone as Keras 2 wrote them, a whole model in HDF5, or a
    .keras file. `output` is what the network ends with: logits, softmax, one sigmoid channel.
    """

    name: str
    build: Callable[[float, int, int], keras.Model]
    input_range: Range
    saved: Literal["weights.h5", "h5", "keras"]
    output: Literal["logits", "softmax", "sigmoid"]
    tiny: float
    """The width of its tests; 1 for weights alone, which come without their widths."""
    steps: int = 12
    """Training steps after which the masks have shapes."""
    policy: str = "float32"
    stride: int = 1
    """Pixels of the input for one of the output."""
    architecture: str | None = None
    """Of weights alone: the name that `import --architecture` takes."""

    @property
    def channels(self) -> int:
        """Output channels of two classes."""
        return 1 if self.output == "sigmoid" else 2

    def model(self, width: float, size: int, classes: int = 2) -> keras.Model:
        """The untrained model, in the network's own precision."""
        before = keras.mixed_precision.dtype_policy()
        keras.mixed_precision.set_global_policy(self.policy)
        try:
            return self.build(width, size, 1 if self.output == "sigmoid" else classes)
        finally:
            keras.mixed_precision.set_global_policy(before)

    def scale(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """What the network's own training code makes of RGB pixels, 0 to 255."""
        pixels = np.asarray(pixels, np.float32)
        match self.input_range:
            case "-1..1":
                return pixels / 127.5 - 1
            case "0..1":
                return pixels / 255
            case "0..255":
                return pixels
            case "caffe":
                return pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
            case "imagenet":
                mean = np.array([0.485, 0.456, 0.406], np.float32)
                return (pixels / 255 - mean) / np.array([0.229, 0.224, 0.225], np.float32)

    def logits(self, model: keras.Model, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """The model's own scores of RGB pixels (N, H, W, 3) as logits (N, H, W, classes >= 2).

        The last activation is left out: the logarithm of a softmax would not give back differences
        above 100. Scores at a part of the size are resized bilinearly.
        """
        last = model.layers[-1]
        activation, last.activation = last.activation, keras.activations.linear
        try:
            scores = np.asarray(model(self.scale(pixels), training=False), np.float32)
        finally:
            last.activation = activation
        side = pixels.shape[1] // self.stride
        scores = scores.reshape(len(pixels), side, side, -1)
        if self.output == "sigmoid":
            scores = np.concatenate([np.zeros_like(scores), scores], -1)
        resize = keras.layers.UpSampling2D(self.stride, interpolation="bilinear")
        return np.asarray(resize(scores)) if self.stride > 1 else scores

    def save(self, model: keras.Model, folder: Path) -> Path:
        """Save `model` as the network's own code does; return the file."""
        if self.saved == "weights.h5":
            save_weights_as_keras2(model, path := folder / f"{self.name}.h5")
        else:
            model.save(path := folder / f"{self.name}.{self.saved}")
        return path


NETWORKS = (
    ForeignNetwork(
        "tutorial-mobilenet-unet",
        mobilenet_unet,
        "-1..1",
        "weights.h5",
        "logits",
        1,
        steps=20,
        architecture="tutorial-mobilenet-unet",
    ),
    ForeignNetwork(
        "tutorial-unet-mini",
        unet_mini,
        "-1..1",
        "weights.h5",
        "logits",
        1,
        architecture="tutorial-unet-mini",
    ),
    ForeignNetwork("vgg-unet", vgg_unet, "caffe", "h5", "softmax", 1 / 16, stride=2),
    ForeignNetwork(
        "mobilenet-segnet", mobilenet_segnet, "-1..1", "h5", "softmax", 1 / 8, steps=60, stride=2
    ),
    ForeignNetwork("oxford-pets", oxford_pets, "0..255", "h5", "softmax", 1 / 4),
    ForeignNetwork("deeplabv3-plus", deeplabv3_plus, "0..255", "keras", "logits", 1 / 8),
    ForeignNetwork("unet-resnet18", unet_resnet, "0..255", "h5", "sigmoid", 1 / 8, steps=60),
    ForeignNetwork(
        "unet-mini-float16", unet_mini, "imagenet", "keras", "logits", 1 / 4, policy="mixed_float16"
    ),
)


def network(name: str) -> ForeignNetwork:
    """The network of that name."""
    return next(entry for entry in NETWORKS if entry.name == name)
