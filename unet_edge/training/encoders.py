"""The encoders: MobileNet V1, V2 and V3, down to 1/16 of the picture, with the skips of a U-Net.

Layers with weights have the names of keras.applications, so its published weights load by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import keras
from keras import layers

from unet_edge.training.settings.network import Encoder

# The input of each next strided convolution: the widest tensor of each scale. segmentation_models
# uses these skips of V1 and V2, LR-ASPP those of V3. The stages at 1/32 are not used, so the input
# needs multiples of 16 px only; the tutorial never used its f5 either.
_SKIPS_V1 = ("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu")
_SKIPS_V2 = (
    "block_1_expand_relu",
    "block_3_expand_relu",
    "block_6_expand_relu",
    "block_13_expand_relu",
)


def features(x: keras.KerasTensor, encoder: Encoder, alpha: float) -> list[keras.KerasTensor]:
    """Build an encoder on `x`, normalised pictures (N, H, W, 3) in [-1, 1].

    Returns the features at 1/2, 1/4, 1/8 and 1/16 of H and W, which are multiples of 16 px.
    """
    match encoder:
        case "mobilenet_v1":
            model = keras.applications.MobileNet(
                input_tensor=x, alpha=alpha, include_top=False, weights=None
            )
            return [model.get_layer(name).output for name in _SKIPS_V1]
        case "mobilenet_v2":
            model = keras.applications.MobileNetV2(
                input_tensor=x, alpha=alpha, include_top=False, weights=None
            )
            return [model.get_layer(name).output for name in _SKIPS_V2]
        case "mobilenet_v3_small":
            return _mobilenet_v3(x, _V3_SMALL, alpha)
        case "mobilenet_v3_large":
            return _mobilenet_v3(x, _V3_LARGE, alpha)
        case _:
            assert_never(encoder)


def multiple_of_8(channels: float) -> int:
    """Round to a multiple of 8, as the MobileNets do, and at most a tenth down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


# --- MobileNet V3 (Howard et al. 2019, arXiv:1905.02244, tables 1 and 2) -----------------------
#
# keras.applications' own V3 is not used: its activations are functions without stable names.
# Cloning, channel correction and byte-identical exports need layers.


@dataclass(frozen=True)
class _Block:
    expansion: float
    channels: int
    kernel: int
    stride: int
    squeeze: bool
    activation: Literal["relu", "hard_swish"]


_V3_SMALL = (
    _Block(1, 16, 3, 2, True, "relu"),
    _Block(72 / 16, 24, 3, 2, False, "relu"),
    _Block(88 / 24, 24, 3, 1, False, "relu"),
    _Block(4, 40, 5, 2, True, "hard_swish"),
    _Block(6, 40, 5, 1, True, "hard_swish"),
    _Block(6, 40, 5, 1, True, "hard_swish"),
    _Block(3, 48, 5, 1, True, "hard_swish"),
    _Block(3, 48, 5, 1, True, "hard_swish"),
    _Block(6, 96, 5, 2, True, "hard_swish"),
)

_V3_LARGE = (
    _Block(1, 16, 3, 1, False, "relu"),
    _Block(4, 24, 3, 2, False, "relu"),
    _Block(3, 24, 3, 1, False, "relu"),
    _Block(3, 40, 5, 2, True, "relu"),
    _Block(3, 40, 5, 1, True, "relu"),
    _Block(3, 40, 5, 1, True, "relu"),
    _Block(6, 80, 3, 2, False, "hard_swish"),
    _Block(2.5, 80, 3, 1, False, "hard_swish"),
    _Block(2.3, 80, 3, 1, False, "hard_swish"),
    _Block(2.3, 80, 3, 1, False, "hard_swish"),
    _Block(6, 112, 3, 1, True, "hard_swish"),
    _Block(6, 112, 3, 1, True, "hard_swish"),
    _Block(6, 160, 5, 2, True, "hard_swish"),
)


def _mobilenet_v3(
    x: keras.KerasTensor, blocks: tuple[_Block, ...], alpha: float
) -> list[keras.KerasTensor]:
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = _norm(x, "conv")
    x = layers.Activation("hard_swish", name="conv_act")(x)
    skips = []
    for index, block in enumerate(blocks):
        name = f"expanded_conv_{index}" if index else "expanded_conv"
        shortcut, narrow = x, x.shape[-1]
        wide = multiple_of_8(narrow * block.expansion)
        if index:
            x = layers.Conv2D(wide, 1, use_bias=False, name=f"{name}_expand")(x)
            x = _norm(x, f"{name}_expand")
            x = layers.Activation(block.activation, name=f"{name}_expand_act")(x)
        if block.stride == 2:
            skips.append(x)
            if len(skips) == 4:
                break
        # keras.applications pads strided convolutions in a layer of its own. For even sizes, "same"
        # adds the same pixels.
        x = layers.DepthwiseConv2D(
            block.kernel,
            strides=block.stride,
            padding="same",
            use_bias=False,
            name=f"{name}_depthwise",
        )(x)
        x = _norm(x, f"{name}_depthwise")
        x = layers.Activation(block.activation, name=f"{name}_depthwise_act")(x)
        if block.squeeze:
            x = _squeeze_excite(x, f"{name}_squeeze_excite")
        width = multiple_of_8(block.channels * alpha)
        x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(x)
        x = _norm(x, f"{name}_project")
        if block.stride == 1 and width == narrow:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    return skips


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-3, momentum=0.999, name=f"{name}_bn")(x)


def _squeeze_excite(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
    gate = layers.Conv2D(multiple_of_8(channels / 4), 1, name=f"{name}_conv")(gate)
    gate = layers.ReLU(name=f"{name}_relu")(gate)
    gate = layers.Conv2D(channels, 1, name=f"{name}_conv_1")(gate)
    gate = layers.Activation("hard_sigmoid", name=f"{name}_gate")(gate)
    return layers.Multiply(name=f"{name}_mul")([x, gate])
