"""MobileNet V1 with symmetric padding, as older Keras code writes it.

The architecture: Howard et al., MobileNets, 2017 (arXiv:1704.04861). The stride-2 layers pad one
pixel on every side, where keras.applications pads below and on the right alone.
"""

from __future__ import annotations

from typing import Any

from keras import layers

_BLOCKS = (  # channels and stride of the depthwise separable blocks down to 1/16
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
)
_LAST_OF_STAGE = (1, 3, 5, 11)


def encoder(pixels: Any, width: float) -> list[Any]:
    """Features at 1/2, 1/4, 1/8 and 1/16; 64, 128, 256 and 512 channels times `width`."""
    x = layers.ZeroPadding2D((1, 1), name="conv1_pad")(pixels)
    x = layers.Conv2D(int(32 * width), 3, strides=2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    x = layers.ReLU(6.0, name="conv1_relu")(x)
    features = []
    for number, (channels, stride) in enumerate(_BLOCKS, start=1):
        x = layers.ZeroPadding2D((1, 1), name=f"conv_pad_{number}")(x)
        x = layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=f"conv_dw_{number}")(x)
        x = layers.BatchNormalization(name=f"conv_dw_{number}_bn")(x)
        x = layers.ReLU(6.0, name=f"conv_dw_{number}_relu")(x)
        x = layers.Conv2D(
            int(channels * width), 1, padding="same", use_bias=False, name=f"conv_pw_{number}"
        )(x)
        x = layers.BatchNormalization(name=f"conv_pw_{number}_bn")(x)
        x = layers.ReLU(6.0, name=f"conv_pw_{number}_relu")(x)
        if number in _LAST_OF_STAGE:
            features.append(x)
    return features
