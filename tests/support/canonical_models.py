"""Tiny models with the layers of networks that were trained elsewhere, as a run holds them.

Weights are random. BatchNorm has the statistics of the pictures, and the last convolution is fitted
to their labels. So activations have the ranges of a trained network, and most labels are right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from discs import SIZE, discs_and_squares
from keras import layers

from converters.layers import outputs

HEAD = "head"
"""The convolution that computes the scores."""


def tutorial(x: Any) -> Any:
    """Conv-ReLU-BatchNorm blocks with nearest upsampling, as in U-Net tutorials."""

    def block(x: Any, filters: int, name: str) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    skip = block(x, 8, "one")
    x = block(layers.MaxPooling2D(2, name="pool")(skip), 16, "two")
    x = layers.UpSampling2D(2, interpolation="nearest", name="up")(x)
    x = block(layers.Concatenate(name="join")([x, skip]), 12, "three")
    return layers.Conv2D(3, 1, name=HEAD)(x)


def residual(x: Any) -> Any:
    """Residual blocks of separable and transposed convolutions, as in a keras.io example."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = shortcut = layers.ReLU(name="stem_relu")(x)
    for name in ("a", "b"):
        if name == "b":
            x = layers.ReLU(name="b_first_relu")(x)
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_dw")(x)
        x = layers.Conv2D(16, 1, name=f"{name}_pw")(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    shortcut = layers.Conv2D(16, 1, strides=2, padding="same", name="shortcut")(shortcut)
    x = shortcut = layers.Add(name="add")([x, shortcut])
    x = layers.ReLU(name="up_relu")(x)
    x = layers.Conv2DTranspose(12, 3, padding="same", name="up_conv")(x)
    x = layers.BatchNormalization(name="up_bn")(x)
    x = layers.ReLU(name="up_relu_2")(x)
    x = layers.Conv2DTranspose(12, 3, strides=2, padding="same", name="up_conv_2")(x)
    x = layers.BatchNormalization(name="up_bn_2")(x)
    shortcut = layers.UpSampling2D(2, name="up_shortcut")(shortcut)
    shortcut = layers.Conv2D(12, 1, padding="same", name="up_shortcut_conv")(shortcut)
    x = layers.Add(name="up_add")([x, shortcut])
    x = layers.UpSampling2D(2, name="last_up")(x)
    return layers.Conv2D(3, 3, padding="same", name=HEAD)(x)


def atrous(x: Any) -> Any:
    """Dilated convolutions, global pooling and bilinear upsampling, as in DeepLabV3+."""

    def block(x: Any, filters: int, size: int, name: str, **options: Any) -> Any:
        x = layers.Conv2D(
            filters, size, padding="same", use_bias=False, name=f"{name}_conv", **options
        )(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    low = block(x, 8, 3, "one", strides=2)
    x = block(low, 16, 3, "two", strides=2)
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    pooled = block(pooled, 8, 1, "pooled")
    pooled = layers.UpSampling2D(16, interpolation="bilinear", name="pooled_up")(pooled)
    x = layers.Concatenate(name="pyramid")(
        [
            pooled,
            block(x, 8, 1, "rate1"),
            block(x, 8, 3, "rate2", dilation_rate=2),
            block(x, 8, 3, "rate4", dilation_rate=4),
        ]
    )
    x = block(x, 12, 1, "project")
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Concatenate(name="join")([x, block(low, 6, 1, "low")])
    x = layers.DepthwiseConv2D(
        3, padding="same", dilation_rate=2, use_bias=False, name="refine_dw"
    )(x)
    x = block(x, 12, 1, "refine")
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up_2")(x)
    return layers.Conv2D(3, 1, name=HEAD)(x)


def gated(x: Any) -> Any:
    """Swish, squeeze and excitation, as in EfficientNet; two classes at half size."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = residual = layers.Activation("swish", name="stem_swish")(x)
    x = layers.Conv2D(24, 1, use_bias=False, name="expand_conv")(x)
    x = layers.BatchNormalization(name="expand_bn")(x)
    x = layers.Activation("swish", name="expand_swish")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="dw_conv")(x)
    x = layers.BatchNormalization(name="dw_bn")(x)
    x = layers.Activation("swish", name="dw_swish")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(4, 1, name="reduce")(gate)
    gate = layers.Activation("swish", name="reduce_swish")(gate)
    gate = layers.Conv2D(24, 1, name="gate")(gate)
    gate = layers.Activation("sigmoid", name="gate_sigmoid")(gate)
    x = layers.Multiply(name="excite")([x, gate])
    x = layers.Conv2D(8, 1, use_bias=False, name="project_conv")(x)
    x = layers.BatchNormalization(name="project_bn")(x)
    x = layers.Add(name="residual")([x, residual])
    x = layers.Conv2D(12, 3, padding="same", name="decoder_conv")(x)
    x = layers.LeakyReLU(0.1, name="leaky")(x)
    x = layers.Conv2D(12, 3, padding="same", name="decoder_conv_2")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.Conv2D(2, 1, use_bias=False, name=HEAD)(x)
    return layers.Resizing(SIZE, SIZE, interpolation="bilinear", name="resize")(x)


def preactivated(x: Any) -> Any:
    """BatchNorm-ReLU before each convolution, groups and padding, as in ResNets; two classes."""
    x = layers.BatchNormalization(scale=False, name="bn_data")(x)
    x = layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = layers.Conv2D(16, 7, strides=2, use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = skip = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool")(x)
    for name, groups in (("a", 1), ("b", 4)):
        shortcut = x
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        x = layers.Conv2D(16, 3, groups=groups, use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_bn_2")(x)
        x = layers.ReLU(name=f"{name}_relu_2")(x)
        x = layers.Conv2D(16, 1, use_bias=False, name=f"{name}_conv_2")(x)
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    x = layers.BatchNormalization(name="last_bn")(x)
    x = layers.ReLU(name="last_relu")(x)
    x = layers.AveragePooling2D(2, name="mean")(x)
    x = layers.UpSampling2D(4, interpolation="bilinear", name="up")(x)
    x = layers.Concatenate(name="join")([x, skip])
    x = layers.Conv2D(16, 3, padding="same", name="decoder_conv")(x)
    x = layers.Activation("elu", name="decoder_elu")(x)
    x = layers.Conv2DTranspose(8, 2, strides=2, name="decoder_up")(x)
    x = layers.ReLU(name="decoder_relu")(x)
    x = layers.ZeroPadding2D(1, name="head_pad")(x)
    x = layers.Conv2D(2, 3, name=HEAD)(x)
    return x


MODELS: dict[str, Callable[[Any], Any]] = {
    build.__name__: build for build in (tutorial, residual, atrous, gated, preactivated)
}
"""Functions from the normalised picture to the scores, by name."""


def canonical_model(name: str, *, mean: float = 128.0, std: float = 128.0) -> keras.Model:
    """The model `name` of MODELS, for pixels (N, 64, 64, 3); `mean` and `std` normalise them."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    normalised = layers.Rescaling(1 / std, offset=-mean / std, name="normalise")(pixels)
    model = keras.Model(pixels, MODELS[name](normalised), name=name)
    pictures, labels = discs_and_squares(8, seed=0)
    rng = np.random.default_rng(0)
    head, features = model.get_layer(HEAD), None
    for layer, output in outputs(model, pictures.astype(np.float32), _with_statistics(rng)):
        if layer is model.layers[-1] or layer is head:
            continue
        if layer.output is head.input:
            features = keras.ops.convert_to_numpy(output)
    assert features is not None
    _fit_head(head, features, labels)
    return model


def _with_statistics(rng: np.random.Generator) -> Callable[[Any, list[Any]], Any]:
    """Computes a layer; BatchNorm gets its inputs' statistics, and random gains and offsets."""

    def run(layer: Any, inputs: list[Any]) -> Any:
        if isinstance(layer, layers.BatchNormalization):
            values = keras.ops.convert_to_numpy(inputs[0])
            channels = values.shape[-1]
            gain, offset = rng.uniform(0.5, 1.5, channels), rng.normal(0, 0.5, channels)
            statistics = [values.mean((0, 1, 2)), values.var((0, 1, 2)) + 1e-4]
            layer.set_weights([*([gain] if layer.scale else []), offset, *statistics])
        elif isinstance(layer, layers.PReLU):
            layer.alpha.assign(rng.uniform(0, 0.5, layer.alpha.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
        return layer(inputs if len(inputs) > 1 else inputs[0], training=False)

    return run


def _fit_head(head: Any, features: Any, labels: Any) -> None:
    """Fit the last convolution to labels (N, H, W) by least squares; scores are about -4 to 4."""
    height, width, _, classes = head.kernel.shape
    step = labels.shape[1] // head.output.shape[1]
    target = 8 * np.eye(classes)[np.minimum(labels[:, ::step, ::step], classes - 1)] - 4
    if head.padding == "same":
        edge = ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0))
        features = np.pad(features, edge)
    rows, columns = target.shape[1:3]
    taps = np.concatenate(
        [features[:, y : y + rows, x : x + columns] for y in range(height) for x in range(width)],
        axis=-1,
    ).reshape(-1, height * width * features.shape[-1])
    if head.use_bias:
        taps = np.pad(taps, ((0, 0), (0, 1)), constant_values=1)
    gram = taps.T @ taps
    weights = np.linalg.solve(
        gram + 1e-3 * gram.trace() / len(gram) * np.eye(len(gram)),
        taps.T @ target.reshape(-1, classes),
    )
    parts = [weights[:-1], weights[-1]] if head.use_bias else [weights]
    head.set_weights([parts[0].reshape(head.kernel.shape), *parts[1:]])
