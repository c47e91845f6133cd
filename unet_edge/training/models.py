"""The networks, in plain Keras 3: uint8 pixels in, logits out.

Every model starts with its own normalisation layer, so Keras, TFLite and ONNX take the same pixels.
It ends in logits, because an arg-max needs no softmax.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

import keras
from keras import layers

from unet_edge.errors import ConfigError, WeightsError
from unet_edge.spec import Normalisation
from unet_edge.training.encoders import features, multiple_of_8
from unet_edge.training.fused_batch_norm import fuse_batch_norm
from unet_edge.training.pretrained import encoder_weights
from unet_edge.training.settings.network import Network

NORMALISE = "normalise"
"""The name of the first layer of every model; the int8 converters cut the model after it."""

# The names of all layers after the encoder begin with one of these.
_DECODER = ("dec", "join", "up", "logits")


def build(network: Network, classes: int, normalisation: Normalisation) -> keras.Model:
    """Build an untrained model for any height and width.

    Input: pixels, any dtype, 0..255, shape (N, H, W, 3), H and W multiples of `network.stride`.
    Output: logits, float32, shape (N, H, W, classes). Raises ConfigError for an imported network,
    which a `NetworkBuilder` builds.
    """
    pixels = keras.Input((None, None, 3), name="pixels")
    x = layers.Rescaling(
        1.0 / normalisation.std, offset=-normalisation.mean / normalisation.std, name=NORMALISE
    )(pixels)
    match network.architecture:
        case "mobilenet_unet":
            logits = _mobilenet_unet(x, network, classes)
        case "unet_mini":
            logits = _unet_mini(x, classes)
        case "imported":
            raise ConfigError(
                "an imported network is built from its run alone", fix="pass --weights RUN"
            )
        case _:
            assert_never(network.architecture)
    model = keras.Model(pixels, logits, name=network.architecture)
    fuse_batch_norm(model)
    return model


def _mobilenet_unet(x: keras.KerasTensor, network: Network, classes: int) -> keras.KerasTensor:
    f1, f2, f3, f4 = features(x, network.encoder, network.alpha)

    def width(channels: int) -> int:
        return multiple_of_8(channels * network.alpha)

    match network.decoder:
        case "dense":
            # The tutorial's decoder, with two changes. BatchNorm comes before the activation, so
            # that it folds into the convolution. Upsampling is bilinear instead of nearest, so
            # that XNNPACK runs the model as one partition.
            x = _conv(f4, width(512), "dec4")
            x = _conv(_join(x, f3, "join3"), width(256), "dec3")
            x = _conv(_join(x, f2, "join2"), width(128), "dec2")
            x = _conv(_join(x, f1, "join1"), width(128), "dec1")
            x = _conv(_double(x, "up0"), width(64), "dec0")
            return layers.Conv2D(classes, 3, padding="same", name="logits", dtype="float32")(x)
        case "separable":
            # The head works at half resolution, and the logits are resized. The last convolutions
            # cost a quarter of those at full resolution.
            x = _separable(f4, width(256), "dec4")
            x = _separable(_join(x, f3, "join3"), width(128), "dec3")
            x = _separable(_join(x, f2, "join2"), width(64), "dec2")
            x = _separable(_join(x, f1, "join1"), width(64), "dec1")
            x = layers.Conv2D(classes, 1, name="logits_half", dtype="float32")(x)
            return layers.UpSampling2D(2, interpolation="bilinear", name="logits", dtype="float32")(
                x
            )
        case _:
            assert_never(network.decoder)


def _unet_mini(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """The tutorial's `unet_mini`, with BatchNorm added."""

    def pair(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
        x = _conv(x, channels, f"{name}a")
        x = layers.Dropout(0.2, name=f"{name}_drop")(x)
        return _conv(x, channels, f"{name}b")

    c1 = pair(x, 32, "conv1")
    c2 = pair(layers.MaxPooling2D(2, name="pool1")(c1), 64, "conv2")
    c3 = pair(layers.MaxPooling2D(2, name="pool2")(c2), 128, "conv3")
    c4 = pair(_join(c3, c2, "join2"), 64, "conv4")
    c5 = pair(_join(c4, c1, "join1"), 32, "conv5")
    return layers.Conv2D(classes, 1, name="logits", dtype="float32")(c5)


def _conv(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=name)(x)
    return _norm_relu6(x, name)


def _separable(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_dw")(x)
    x = _norm_relu6(x, f"{name}_dw")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_pw")(x)
    return _norm_relu6(x, f"{name}_pw")


def _norm_relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _double(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)


def _join(x: keras.KerasTensor, skip: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.Concatenate(name=name)([_double(x, f"{name}_up"), skip])


def freeze_encoder(model: keras.Model, frozen: bool) -> None:
    """Freeze the encoder's weights and statistics, or make them trainable again."""
    for layer in model.layers:
        if not layer.name.startswith(_DECODER):
            layer.trainable = not frozen


def load_encoder(model: keras.Model, network: Network, source: str | Path) -> int:
    """Load pretrained weights into the encoder of `model`; return the number of loaded layers.

    `source` is "imagenet" or a file, `.weights.h5` or `.h5`: see `encoder_weights`.
    Raises WeightsError if the download fails, or if the file is missing, unreadable or of another
    encoder or alpha.
    """
    if network.architecture != "mobilenet_unet":
        raise WeightsError(
            f"{network.architecture} has no pretrained encoder",
            fix="use --encoder-weights none",
        )
    weights = encoder_weights(network.encoder, network.alpha, source)
    pretrained = [layer for layer in model.layers if layer.name in weights]
    for layer in pretrained:
        layer.set_weights(weights[layer.name])
    return len(pretrained)
