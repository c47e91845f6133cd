"""Two networks of image-segmentation-keras: their output is a list of pixels behind a softmax.

Its channels_last path: masks of half the input's height and width, flattened by
`Reshape` to (height * width, classes).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from foreign_models.mobilenet_v1 import encoder

_VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3))  # channels and convolutions of blocks 1 to 4


def vgg_unet(width: float, size: int, classes: int) -> keras.Model:
    """VGG-16 (arXiv:1409.1556) up to block 4, a decoder of Conv-ReLU-BN, nearest upsampling.

    The library's release 0.3.0 leaves the ReLUs out; its later code has them.
    """
    pixels = keras.Input((size, size, 3))
    x, features = pixels, []
    for block, (channels, convolutions) in enumerate(_VGG16, start=1):
        for number in range(1, convolutions + 1):
            x = layers.Conv2D(
                int(channels * width),
                3,
                activation="relu",
                padding="same",
                name=f"block{block}_conv{number}",
            )(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
        features.append(x)
    f1, f2, f3, x = features
    x = _padded_conv(x, int(512 * width), "relu")
    for skip, channels in ((f3, 256), (f2, 128), (f1, 64)):
        x = layers.Concatenate(axis=-1)([layers.UpSampling2D(2)(x), skip])
        x = _padded_conv(x, int(channels * width), "relu")
    return _pixels_in_a_list(pixels, x, classes)


def mobilenet_segnet(width: float, size: int, classes: int) -> keras.Model:
    """MobileNet V1 and a decoder without skips or activations: Conv-BN, nearest upsampling."""
    pixels = keras.Input((size, size, 3))
    x = _padded_conv(encoder(pixels, width)[-1], int(512 * width), None)
    for channels in (256, 128, 64):
        x = _padded_conv(layers.UpSampling2D(2)(x), int(channels * width), None)
    return _pixels_in_a_list(pixels, x, classes)


def _padded_conv(x: Any, channels: int, activation: str | None) -> Any:
    x = layers.ZeroPadding2D((1, 1))(x)
    x = layers.Conv2D(channels, 3, padding="valid", activation=activation)(x)
    return layers.BatchNormalization()(x)


def _pixels_in_a_list(pixels: Any, x: Any, classes: int) -> keras.Model:
    x = layers.Conv2D(classes, 3, padding="same")(x)
    x = layers.Reshape((x.shape[1] * x.shape[2], -1))(x)
    return keras.Model(pixels, layers.Activation("softmax")(x))
