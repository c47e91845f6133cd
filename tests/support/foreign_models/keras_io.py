"""Two networks of the keras.io examples: the U-Net-like of the Oxford pets, and DeepLabV3+."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def oxford_pets(width: float, size: int, classes: int) -> keras.Model:
    """Separable convolutions, residual 1x1 paths, transposed convolutions of stride 1, softmax."""
    pixels = keras.Input((size, size, 3))

    def normalised(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    x = layers.Conv2D(int(32 * width), 3, strides=2, padding="same")(pixels)
    x = before = layers.Activation("relu")(normalised(x))
    for channels in (int(width * n) for n in (64, 128, 256)):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = normalised(layers.SeparableConv2D(channels, 3, padding="same")(x))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = before = layers.add([x, layers.Conv2D(channels, 1, strides=2, padding="same")(before)])
    for channels in (int(width * n) for n in (256, 128, 64, 32)):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = normalised(layers.Conv2DTranspose(channels, 3, padding="same")(x))
        x = layers.UpSampling2D(2)(x)
        residual = layers.Conv2D(channels, 1, padding="same")(layers.UpSampling2D(2)(before))
        x = before = layers.add([x, residual])
    return keras.Model(pixels, layers.Conv2D(classes, 3, activation="softmax", padding="same")(x))


def deeplabv3_plus(width: float, size: int, classes: int) -> keras.Model:
    """ResNet-50, dilated convolutions and a pooled branch, bilinear upsampling, logits.

    The graph takes pixels 0..255: `preprocess_input` is part of it, as operations rather than
    layers (a slice, a subtraction), and so are the ReLUs. At width 1 the backbone is that of
    keras.applications; below, a ResNet of the same layout with fewer blocks and channels.
    Chen et al., 2018 (arXiv:1802.02611).
    """
    pixels = keras.Input((size, size, 3))
    scaled = keras.applications.resnet50.preprocess_input(pixels)
    if width == 1:
        backbone = keras.applications.ResNet50(weights=None, include_top=False, input_tensor=scaled)
        deep = backbone.get_layer("conv4_block6_2_relu").output
        shallow = backbone.get_layer("conv2_block3_2_relu").output
    else:
        shallow, deep = _small_resnet(scaled, width)
    x = _pyramid(deep, int(256 * width))
    x = _upsampled(x, size // 4)
    x = layers.Concatenate(axis=-1)([x, _conv(shallow, int(48 * width), 1)])
    x = _conv(_conv(x, int(256 * width)), int(256 * width))
    return keras.Model(
        pixels, layers.Conv2D(classes, kernel_size=(1, 1), padding="same")(_upsampled(x, size))
    )


def _conv(x: Any, channels: int, kernel: int = 3, dilation: int = 1, bias: bool = False) -> Any:
    x = layers.Conv2D(channels, kernel, dilation_rate=dilation, padding="same", use_bias=bias)(x)
    return ops.nn.relu(layers.BatchNormalization()(x))


def _upsampled(x: Any, side: int) -> Any:
    return layers.UpSampling2D((side // x.shape[1], side // x.shape[2]), interpolation="bilinear")(
        x
    )


def _pyramid(x: Any, channels: int) -> Any:
    side = x.shape[1]
    pooled = _conv(layers.AveragePooling2D((side, side))(x), channels, 1, bias=True)
    branches = [_upsampled(pooled, side), _conv(x, channels, 1)]
    branches += [_conv(x, channels, 3, dilation) for dilation in (6, 12, 18)]
    return _conv(layers.Concatenate(axis=-1)(branches), channels, 1)


def _small_resnet(x: Any, width: float) -> tuple[Any, Any]:
    """Bottleneck blocks at 1/4, 1/8 and 1/16; features inside the first and the last block."""
    x = layers.ZeroPadding2D(3)(x)
    x = layers.Conv2D(int(64 * width), 7, strides=2)(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1.001e-5)(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    inner: list[Any] = []
    for stage, stride in ((0, 1), (1, 2), (2, 2)):
        channels = int(64 * width) * 2**stage

        def normalised(x: Any) -> Any:
            return layers.BatchNormalization(epsilon=1.001e-5)(x)

        shortcut = normalised(layers.Conv2D(4 * channels, 1, strides=stride)(x))
        x = layers.ReLU()(normalised(layers.Conv2D(channels, 1, strides=stride)(x)))
        x = layers.ReLU()(normalised(layers.Conv2D(channels, 3, padding="same")(x)))
        inner.append(x)
        x = normalised(layers.Conv2D(4 * channels, 1)(x))
        x = layers.ReLU()(layers.Add()([shortcut, x]))
    return inner[0], inner[-1]
