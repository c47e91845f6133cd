"""The cost of a network in multiply-accumulates."""

from __future__ import annotations

import math

import keras
from keras import layers


def multiply_accumulates(model: keras.Model, height: int, width: int) -> int:
    """Count the multiply-accumulates of `model` for one picture of height x width px.

    Only those of convolutions count, as in the MobileNet papers: a product with a weight and its
    sum are one. Raises ValueError if the network does not accept this size.
    """
    pixels = keras.Input((height, width, 3), batch_size=1)
    sized = keras.models.clone_model(model, input_tensors=pixels)
    total = 0
    for layer in sized.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            # Each pixel of the output uses each weight of the kernel once. Its shape is (kh, kw,
            # in, out), or (kh, kw, channels, multiplier) of a depthwise convolution.
            _, rows, columns, _ = layer.output.shape
            total += rows * columns * math.prod(layer.kernel.shape)
    return total
