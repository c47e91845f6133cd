"""The U-Net of segmentation_models with a pre-activation ResNet-18 or 34, and a sigmoid."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def unet_resnet(
    width: float, size: int | None, classes: int = 1, *, depth: int = 18
) -> keras.Model:
    """One sigmoid channel (or more, classes > 1); pixels 0..255; any size if `size` is None.

    The first layer is a BatchNorm of the pixels, `bn_data`, in front of a padded convolution.
    He et al., Identity mappings in deep residual networks, 2016 (arXiv:1603.05027).
    """
    pixels = keras.Input((size, size, 3), name="data")
    x = _normalised(pixels, "bn_data", scale=False)
    x = layers.ZeroPadding2D(3)(x)
    x = layers.Conv2D(int(64 * width), 7, strides=2, use_bias=False, name="conv0")(x)
    x = relu0 = layers.Activation("relu", name="relu0")(_normalised(x, "bn0"))
    x = layers.MaxPooling2D(3, strides=2, name="pooling0")(layers.ZeroPadding2D(1)(x))
    skips = [relu0]
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            x, first = _residual_block(x, int(64 * width) * 2**stage, stage, block, stride)
            if block == 0 and stage > 0:
                skips.append(first)  # the activation in front of the stride
    x = layers.Activation("relu", name="relu1")(_normalised(x, "bn1"))
    skips = skips[::-1]  # at 1/16, 1/8, 1/4 and 1/2
    for stage, channels in enumerate((256, 128, 64, 32, 16)):
        x = layers.UpSampling2D(2, name=f"decoder_stage{stage}_upsampling")(x)
        if stage < len(skips):
            name = f"decoder_stage{stage}_concat"
            x = layers.Concatenate(axis=3, name=name)([x, skips[stage]])
        for part in "ab":
            name = f"decoder_stage{stage}{part}"
            x = layers.Conv2D(
                int(channels * width), 3, padding="same", use_bias=False, name=f"{name}_conv"
            )(x)
            x = layers.BatchNormalization(name=f"{name}_bn")(x)
            x = layers.Activation("relu", name=f"{name}_relu")(x)
    x = layers.Conv2D(classes, 3, padding="same", name="final_conv")(x)
    # float32 in any policy, as the library writes it.
    return keras.Model(pixels, layers.Activation("sigmoid", name="sigmoid", dtype="float32")(x))


def _normalised(x: Any, name: str, *, scale: bool = True) -> Any:
    return layers.BatchNormalization(axis=3, epsilon=2e-5, scale=scale, name=name)(x)


def _residual_block(x: Any, channels: int, stage: int, block: int, stride: int) -> tuple[Any, Any]:
    """The block's output, and its first activation."""
    name = f"stage{stage + 1}_unit{block + 1}_"
    shortcut = x
    x = first = layers.Activation("relu", name=f"{name}relu1")(_normalised(x, f"{name}bn1"))
    if block == 0:
        shortcut = layers.Conv2D(channels, 1, strides=stride, use_bias=False, name=f"{name}sc")(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(channels, 3, strides=stride, use_bias=False, name=f"{name}conv1")(x)
    x = layers.Activation("relu", name=f"{name}relu2")(_normalised(x, f"{name}bn2"))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(channels, 3, use_bias=False, name=f"{name}conv2")(x)
    return layers.Add()([x, shortcut]), first
