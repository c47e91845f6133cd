"""What a network costs: multiply-accumulates, the field's measure of arithmetic."""

from __future__ import annotations

import math

import keras
from keras import layers


def multiply_accumulates(model: keras.Model, height: int, width: int) -> int:
    """Count the multiply-accumulates that `model` spends on one picture of height × width px.

    Those of convolutions: a product with a weight and its sum count as one. As in the MobileNet
    papers, normalisation, activations, resizing, pooling and element-wise products are left out.

    Raises ValueError when the network does not take this size.
    """
    pixels = keras.Input((height, width, 3), batch_size=1)
    sized = keras.models.clone_model(model, input_tensors=pixels)
    total = 0
    for layer in sized.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            # Each weight of the kernel is used once for each place of the output: (kh, kw, in,
            # out) weights, or (kh, kw, channels, multiplier) of a depthwise convolution.
            _, rows, columns, _ = layer.output.shape
            total += rows * columns * math.prod(layer.kernel.shape)
    return total
