"""The tutorial that this project started from: its loader, loss, model and schedule.

For comparison only. Its defects are kept on purpose and marked; `unet_edge` fixes each of them.
This is a new implementation of its description, with the libraries that it uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray
from PIL import Image

from unet_edge.dataset import Sample

BATCH_SIZE = 4
LEARNING_RATE = 1e-4
DECAY = 0.96  # of the learning rate, an epoch
EPOCHS = 100

_PAD = (128, 128, 128)


class Loader:
    """The tutorial's batches: float64 pixels in -1..1 and one-hot float64 labels.

    A pixel is class 1 where its mask is at most 127.5.
    """

    def __init__(self, samples: Sequence[Sample], size: int, classes: int, seed: int) -> None:
        self.samples = list(samples)
        self.size = size
        self.classes = classes
        self.random = np.random.default_rng(seed)

    def batch(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Batch `index`. The list is never shuffled, and starts again after its end."""
        drawn = [
            self._sample(self.samples[position % len(self.samples)])
            for position in range(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        ]
        return np.array([x for x, _ in drawn]), np.array([y for _, y in drawn])

    def _sample(self, sample: Sample) -> tuple[NDArray[Any], NDArray[Any]]:
        picture, mask = Image.open(sample.image).convert("RGB"), Image.open(sample.mask)
        pixels, label = self._augment(picture, mask)
        # Defect: the padding's label is 0, which this turns into class 1.
        classes = np.zeros_like(label)
        classes[label <= 127.5] = 1
        one_hot = np.eye(self.classes)[classes.reshape(-1)]
        return pixels / 127.5 - 1, one_hot.reshape(self.size, self.size, self.classes)

    def _augment(
        self, picture: Image.Image, mask: Image.Image
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        size = self.size

        def uniform(low: float = 0.0, high: float = 1.0) -> float:
            return low + self.random.random() * (high - low)

        # Defect: the aspect ratio is jittered around 1, not around the picture's own.
        aspect = uniform(0.7, 1.3) / uniform(0.7, 1.3)
        scale = uniform(0.25, 2)
        if aspect < 1:
            height = int(scale * size)
            width = int(height * aspect)
        else:
            width = int(scale * size)
            height = int(width / aspect)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        mask = mask.resize((width, height), Image.Resampling.NEAREST).convert("L")
        if uniform() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        corner = int(uniform(0, size - width)), int(uniform(0, size - height))
        canvas, label = Image.new("RGB", (size, size), _PAD), Image.new("L", (size, size), 0)
        canvas.paste(picture, corner)
        label.paste(mask, corner)
        hue = uniform(-0.1, 0.1)
        saturation, value = (
            uniform(1, 1.5) if uniform() < 0.5 else 1 / uniform(1, 1.5) for _ in range(2)
        )
        x: NDArray[Any] = cv2.cvtColor(np.array(canvas, np.float32) / 255, cv2.COLOR_RGB2HSV)
        x[..., 0] += hue * 360
        # Defect: OpenCV's hue is 0 to 360, but this wraps hues above 1 and below 0 by 1.
        x[..., 0][x[..., 0] > 1] -= 1
        x[..., 0][x[..., 0] < 0] += 1
        x[..., 1] *= saturation
        x[..., 2] *= value
        x[x[:, :, 0] > 360, 0] = 360
        x[:, :, 1:][x[:, :, 1:] > 1] = 1
        x[x < 0] = 0
        return cv2.cvtColor(x, cv2.COLOR_HSV2RGB) * 255, np.array(label)


def loss(truth: Any, scores: Any) -> Any:
    """Cross-entropy of unbounded scores, clipped to 0..1. Defect: no gradient outside."""
    scores = ops.clip(scores, 1e-7, 1 - 1e-7)
    return -ops.mean(ops.sum(truth * ops.log(scores), axis=-1))


def build(size: int, classes: int, weights: str | None) -> keras.Model:
    """Build its mobilenet_unet: nearest upsampling, Conv-ReLU-BN, output at full resolution.

    Input: pixels in -1..1, float32 (N, size, size, 3). The encoder is that of keras.applications,
    whose padding fits its weights; the tutorial's own was shifted by a pixel.
    """
    encoder = keras.applications.MobileNet(
        input_shape=(size, size, 3), include_top=False, weights=weights
    )
    names = ("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu")
    f1, f2, f3, f4 = (encoder.get_layer(name).output for name in names)

    def conv(x: Any, channels: int) -> Any:
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        return layers.BatchNormalization()(x)  # defect: after the activation it cannot be folded

    def join(x: Any, skip: Any) -> Any:
        return layers.Concatenate()([layers.UpSampling2D(2)(x), skip])

    x = conv(f4, 512)
    x = conv(join(x, f3), 256)
    x = conv(join(x, f2), 128)
    x = conv(join(x, f1), 128)
    x = conv(layers.UpSampling2D(2)(x), 64)
    return keras.Model(encoder.input, layers.Conv2D(classes, 3, padding="same")(x))
