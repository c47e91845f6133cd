"""BatchNorm as one kernel on TensorFlow.

In training mode, Keras 3 computes BatchNorm in several passes over the tensor. They take over a
third of the kernel time of the default network's training step (batch 8, 256 px, two CPU cores).
TensorFlow has one operation for all of them. JAX fuses the passes itself.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import keras


def fuse_batch_norm(model: keras.Model) -> None:
    """Make every BatchNormalization of `model` train with TensorFlow's fused kernel.

    The mathematics is the same, the rounding differs. The layers remain Keras' own, so saved files
    do not change. On other backends, this function does nothing.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model.layers:
        # The kernel normalises over the last axis only.
        if isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3):
            layer.call = MethodType(_call, layer)


def _call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    if not (training and layer.trainable):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    channels = inputs.shape[-1]
    # An imported network may have layers without a scale or an offset.
    gamma = tf.ones(channels) if layer.gamma is None else layer.gamma
    beta = tf.zeros(channels) if layer.beta is None else layer.beta
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.cast(gamma, tf.float32),
        offset=tf.cast(beta, tf.float32),
        mean=tf.zeros(0),
        variance=tf.zeros(0),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel returns the unbiased variance: n / (n - 1) times the one it normalises with.
    count = tf.cast(tf.size(inputs) / channels, tf.float32)
    variance *= (count - 1) / count
    momentum = layer.momentum
    layer.moving_mean.assign(layer.moving_mean * momentum + mean * (1 - momentum))
    layer.moving_variance.assign(layer.moving_variance * momentum + variance * (1 - momentum))
    return outputs
