"""The frozen TensorFlow graph that both converters start from, and its calibration pictures.

Frozen means batch 1, a fixed size and weights as constants. With a fixed batch and size, the graph
needs no SHAPE, STRIDED_SLICE or PACK. With constants instead of variables, the converters can fold
BatchNorm into convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.models import NORMALISE

PIXELS = "pixels"
"""Name of the input in every exported file."""

LOGITS = "logits"
"""Name of the output in files that hold scores."""

LABELS = "labels"
"""Name of the output in files that hold the arg-max."""


def freeze(model: keras.Model, *, height: int, width: int, normalised: bool) -> Any:
    """Freeze `model` for pictures of `height` by `width` px.

    With `normalised`, the graph starts after the model's normalisation layer, and its input is
    the normalised picture, float32 (1, H, W, 3). Otherwise the input is the pixels, uint8
    (1, H, W, 3). The output is the logits, float32 (1, H, W, classes).

    Returns a `tf.ConcreteFunction` without variables. Raises ConversionError if Keras does not run
    on TensorFlow, or if the model has no normalisation layer or does not take this size.
    """
    require_tensorflow(keras.backend.backend())
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    core = _core(as_float32(model), normalised)
    dtype = tf.float32 if normalised else tf.uint8

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, height, width, 3), dtype, name=PIXELS)]
    )
    def forward(pixels: Any) -> Any:
        return tf.identity(core(pixels, training=False), name=LOGITS)

    try:
        frozen = convert_variables_to_constants_v2(forward.get_concrete_function())
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ConversionError(
            f"{model.name} does not take pictures of {height}x{width} px: {reason(error)}"
        ) from error
    shape = tuple(frozen.outputs[0].shape)
    if shape[:3] != (1, height, width):
        raise ConversionError(
            f"{model.name} makes {shape} of (1, {height}, {width}, 3)",
            expected="expected one score per pixel and class",
            fix="choose a height and a width that are multiples of its stride",
        )
    return frozen


def require_tensorflow(backend: str) -> None:
    """Raise ConversionError if Keras runs on another backend."""
    if backend != "tensorflow":
        raise ConversionError(
            f"Keras runs on {backend}",
            expected="exporting needs TensorFlow",
            fix="set KERAS_BACKEND=tensorflow (a saved .keras file opens on any backend)",
        )


_KERAS_PREFIX = "Exception encountered when calling "
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def reason(error: Exception) -> str:
    """The first line of an exception's message that says why; the converters' have hundreds.

    Keras writes first which layer was called, and then the cause, in bold.
    """
    lines = [line.strip() for line in _COLORS.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith(_KERAS_PREFIX)]
    return lines[0] if lines else type(error).__name__


def as_float32(model: keras.Model) -> keras.Model:
    """A copy of `model` that computes in float32; `model` itself if it does already.

    Mixed precision is for training. Files for the device and their reference compute in float32.
    """
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def in_float32(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=in_float32)
    copy.set_weights(model.get_weights())
    return copy


class _HardSwishInParts(keras.layers.Layer):
    """Hard-swish as a subtraction and two products, which no converter fuses to hard-swish."""

    def call(self, x: Any) -> Any:
        return x * keras.ops.relu6(x - (-3.0)) * (1 / 6)  # converters recognise x + 3


def spell_out_hard_swish(model: keras.Model) -> keras.Model:
    """A copy of `model` with hard-swish in elementary steps; `model` itself if it has none.

    For int8 in TFLite: XNNPACK has a kernel for hard-swish in float but none in int8, so each one
    would split the graph into partitions. See docs/decisions/027-encoders.md.
    """
    swish = keras.activations.hard_swish

    def activates(layer: keras.Layer) -> bool:
        return isinstance(layer, keras.layers.Activation) and layer.activation is swish

    if not any(activates(layer) for layer in model.layers):
        return model

    def in_parts(layer: keras.Layer) -> keras.Layer:
        if activates(layer):
            return _HardSwishInParts(name=layer.name, dtype=layer.dtype_policy)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=in_parts)
    copy.set_weights(model.get_weights())
    return copy


def _core(model: keras.Model, normalised: bool) -> keras.Model:
    """The model, or its part after the normalisation, with a fixed name.

    Keras numbers models without a name, and the number would be part of the exported bytes.
    """
    try:
        layer = model.get_layer(NORMALISE)
    except ValueError as error:
        raise ConversionError(
            f"{model.name} has no layer named {NORMALISE!r}",
            fix="build it with unet_edge.training",
        ) from error
    return keras.Model(layer.output if normalised else model.inputs, model.outputs, name="unet")


def exact_mean(normalisation: Normalisation) -> bool:
    """Whether the mean is a pixel value, which a scale and a zero point represent exactly."""
    return 0 <= normalisation.mean <= 255 and normalisation.mean == int(normalisation.mean)


def check_calibration(calibration: Sequence[NDArray[np.uint8]], spec: ModelSpec) -> None:
    """Raise ConversionError if int8 cannot use these pictures or the contract's normalisation."""
    if not exact_mean(spec.normalisation):
        raise ConversionError(
            f"the normalisation's mean is {spec.normalisation.mean}",
            expected="int8 needs a whole pixel value of 0 to 255",
            fix="train with the default mean of 128; an import chooses such a mean by itself",
        )
    if not len(calibration):
        raise ConversionError(
            "there are no calibration pictures",
            expected="int8 needs calibration pictures",
            fix="pass 32 or more of the training set",
        )
    for grid in calibration:
        if grid.shape != (*spec.size, 3) or grid.dtype != np.uint8:
            raise ConversionError(
                f"a calibration picture is {grid.dtype} {grid.shape}",
                expected=f"expected uint8 {(*spec.size, 3)}",
            )


def normalise(
    calibration: Sequence[NDArray[np.uint8]], normalisation: Normalisation
) -> Iterator[NDArray[np.float32]]:
    """The calibration grids normalised for the network, float32 (1, H, W, 3)."""
    for grid in calibration:
        pixels = grid.astype(np.float32)[np.newaxis]
        yield (pixels - np.float32(normalisation.mean)) / np.float32(normalisation.std)
