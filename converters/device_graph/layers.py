"""Layers of rewritten models that Keras does not have. They compile to one operator each."""

from __future__ import annotations

from typing import Any

import keras


class DepthToSpace(keras.layers.Layer):
    """Move blocks of channels to squares of `size` by `size` pixels.

    (N, H, W, size² C) becomes (N, size H, size W, C). The channels of one block lie together; the
    blocks go row by row, as in TensorFlow's depth_to_space and ONNX's DepthToSpace in mode DCR.
    """

    def __init__(self, size: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.size = size

    def call(self, x: Any) -> Any:
        """The layer's output."""
        import tensorflow as tf

        return tf.nn.depth_to_space(x, self.size)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output for an input of `shape`."""
        batch, height, width, channels = shape
        assert channels is not None
        return (batch, *_times((height, width), (self.size,) * 2), channels // self.size**2)

    def get_config(self) -> dict[str, Any]:
        """The settings to make this layer again."""
        return {**super().get_config(), "size": self.size}


class NearestResize(keras.layers.Layer):
    """Repeat each pixel `size` times, (rows, columns), with the resize operator.

    Keras' UpSampling2D computes the same with seven operators.
    """

    def __init__(self, size: tuple[int, int], **settings: Any) -> None:
        super().__init__(**settings)
        self.size = tuple(size)

    def call(self, x: Any) -> Any:
        """The layer's output."""
        import tensorflow as tf

        target = _times((x.shape[1], x.shape[2]), self.size)
        if None in target:
            dynamic = tf.shape(x)[1:3] * tf.constant(self.size, tf.int32)
            return tf.raw_ops.ResizeNearestNeighbor(images=x, size=dynamic)
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=target)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output for an input of `shape`."""
        return (shape[0], *_times(shape[1:3], self.size), shape[3])

    def get_config(self) -> dict[str, Any]:
        """The settings to make this layer again."""
        return {**super().get_config(), "size": self.size}


class GroupedConv2D(keras.layers.Conv2D):
    """A Conv2D of several groups as one operator.

    TensorFlow's kernel for CPUs has no groups, so Keras compiles such a layer by XLA. The
    converters do not take that, but they take the operator.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution without bias and activation."""
        import tensorflow as tf

        if tf.executing_eagerly():
            return super().convolution_op(inputs, kernel)
        return tf.nn.conv2d(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=self.padding.upper(),
            dilations=list(self.dilation_rate),
        )


class Gelu(keras.layers.Layer):
    """GELU by the error function. TensorFlow's own has the complement, which ONNX lacks."""

    def call(self, x: Any) -> Any:
        """The layer's output."""
        import tensorflow as tf

        return x * (0.5 * (1 + tf.math.erf(x * 0.5**0.5)))


def _times(shape: tuple[int | None, ...], size: tuple[int, ...]) -> list[int | None]:
    return [None if pixels is None else pixels * by for pixels, by in zip(shape, size, strict=True)]
