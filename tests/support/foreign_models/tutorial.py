"""The two networks of the tutorial, which ends without an activation and saves weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
from keras import layers

from foreign_models.mobilenet_v1 import encoder


def mobilenet_unet(width: float, size: int, classes: int) -> keras.Model:
    """MobileNet V1 and a dense decoder: symmetric padding, nearest upsampling, Conv-ReLU-BN."""
    pixels = keras.Input((size, size, 3))
    f1, f2, f3, f4 = encoder(pixels, width)

    def conv(x: Any, channels: int) -> Any:
        x = layers.ZeroPadding2D((1, 1))(x)
        x = layers.Conv2D(int(channels * width), 3, activation="relu")(x)
        return layers.BatchNormalization()(x)

    x = conv(f4, 512)
    for skip, channels in ((f3, 256), (f2, 128), (f1, 128)):
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
        x = conv(x, channels)
    x = conv(layers.UpSampling2D(2)(x), 64)
    return keras.Model(pixels, layers.Conv2D(classes, 3, padding="same")(x))


def unet_mini(width: float, size: int, classes: int) -> keras.Model:
    """Two poolings, pairs of convolutions with a Dropout between, a 1x1 head."""
    pixels = keras.Input((size, size, 3))

    def pair(x: Any, channels: int) -> Any:
        for dropout in (True, False):
            x = layers.Conv2D(int(channels * width), 3, activation="relu", padding="same")(x)
            if dropout:
                x = layers.Dropout(0.2)(x)
        return x

    conv1 = pair(pixels, 32)
    conv2 = pair(layers.MaxPooling2D(2)(conv1), 64)
    conv3 = pair(layers.MaxPooling2D(2)(conv2), 128)
    conv4 = pair(layers.Concatenate()([layers.UpSampling2D(2)(conv3), conv2]), 64)
    conv5 = pair(layers.Concatenate()([layers.UpSampling2D(2)(conv4), conv1]), 32)
    return keras.Model(pixels, layers.Conv2D(classes, 1, padding="same")(conv5))


def save_weights_as_keras2(model: keras.Model, path: Path) -> None:
    """Write `model`'s weights as Keras 2's `save_weights(path.h5)` did.

    One group a layer, its weights named layer/kernel:0 and so on, listed in the attributes
    `layer_names` and `weight_names`. Keras 3 writes another layout and only reads this one.
    """
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.3.1"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=keras.ops.convert_to_numpy(weight))
