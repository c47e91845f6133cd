"""The two networks of the tutorial, exactly as written there, for weights trained on them.

They differ from this project's own networks of the same names: the encoder pads symmetrically
before valid convolutions, as keras-applications did until 1.0.4, upsampling is nearest, and the
decoder's BatchNorm follows the activation.
"""

from __future__ import annotations

from typing import assert_never

import keras
from keras import layers

from converters.foreign.settings import Architecture

# Channels and stride of the encoder's blocks; those behind 11 lead to features that the decoder
# does not use.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
)  # fmt: skip
_SKIPS = (1, 3, 5, 11)


def build_tutorial_network(
    architecture: Architecture,
    classes: int,
    size: tuple[int, int] | None = None,
    *,
    activation: str | None = None,
) -> keras.Model:
    """Build a network of the tutorial, untrained.

    Input: float32 (N, H, W, 3), which the tutorial scales to -1..1; `size` is (H, W), or None for
    any multiple of 16 (MobileNet) or 4 (mini). Output: (N, H, W, classes), logits, or what
    `activation` makes of them.
    """
    pixels = keras.Input((*(size or (None, None)), 3))
    match architecture:
        case "tutorial-mobilenet-unet":
            x = _mobilenet_unet(pixels)
            x = layers.Conv2D(classes, 3, padding="same")(x)
        case "tutorial-unet-mini":
            x = _unet_mini(pixels)
            x = layers.Conv2D(classes, 1, padding="same")(x)
        case _:
            assert_never(architecture)
    if activation is not None:
        x = layers.Activation(activation)(x)
    return keras.Model(pixels, x, name=architecture.replace("-", "_"))


def _mobilenet_unet(pixels: keras.KerasTensor) -> keras.KerasTensor:
    f1, f2, f3, x = _encoder(pixels)
    x = _conv_relu_norm(x, 512)
    for channels, skip in ((256, f3), (128, f2), (128, f1)):
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
        x = _conv_relu_norm(x, channels)
    return _conv_relu_norm(layers.UpSampling2D(2)(x), 64)


def _encoder(x: keras.KerasTensor) -> list[keras.KerasTensor]:
    """MobileNet V1 with the layer names of keras-applications: features at 1/2 to 1/16."""
    x = layers.ZeroPadding2D(1, name="conv1_pad")(x)
    x = layers.Conv2D(32, 3, strides=2, use_bias=False, name="conv1")(x)
    x = _norm_relu6(x, "conv1")
    features = []
    for block, (channels, stride) in enumerate(_BLOCKS, 1):
        x = layers.ZeroPadding2D(1, name=f"conv_pad_{block}")(x)
        x = layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=f"conv_dw_{block}")(x)
        x = _norm_relu6(x, f"conv_dw_{block}")
        x = layers.Conv2D(channels, 1, padding="same", use_bias=False, name=f"conv_pw_{block}")(x)
        x = _norm_relu6(x, f"conv_pw_{block}")
        if block in _SKIPS:
            features.append(x)
    return features


def _norm_relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _conv_relu_norm(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(channels, 3, activation="relu")(x)
    return layers.BatchNormalization()(x)


def _unet_mini(pixels: keras.KerasTensor) -> keras.KerasTensor:
    def pair(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        x = layers.Dropout(0.2)(x)
        return layers.Conv2D(channels, 3, padding="same", activation="relu")(x)

    conv1 = pair(pixels, 32)
    conv2 = pair(layers.MaxPooling2D(2)(conv1), 64)
    x = pair(layers.MaxPooling2D(2)(conv2), 128)
    x = pair(layers.Concatenate()([layers.UpSampling2D(2)(x), conv2]), 64)
    return pair(layers.Concatenate()([layers.UpSampling2D(2)(x), conv1]), 32)
