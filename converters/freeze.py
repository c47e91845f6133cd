"""What both converters start from: a frozen TensorFlow graph, and calibration pictures for it.

Frozen means batch 1, a fixed size and weights as constants. A fixed batch and size leave no
SHAPE, STRIDED_SLICE or PACK in the graph, and constants instead of variables let the converters
fold BatchNorm into convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
"""Name of the output in every exported file, but for those of labels."""

LABELS = "labels"
"""Name of the output in files that hold the arg-max."""


def freeze(model: keras.Model, *, height: int, width: int, normalised: bool) -> Any:
    """Freeze `model` for pictures of `height` by `width` px.

    With `normalised`, the graph starts behind the model's normalisation layer and its input is
    the normalised picture, float32 (1, H, W, 3). Otherwise the input is the pixels, uint8
    (1, H, W, 3). The output is the logits, float32 (1, H, W, classes).

    Returns a `tf.ConcreteFunction` without variables. Raises ConversionError when Keras does
    not run on TensorFlow, or when the model is not one of ours or does not take this size.
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
            expected=(
                "expected one score per pixel and class: choose a height and a width "
                "that are multiples of its stride"
            ),
        )
    return frozen


def require_tensorflow(backend: str) -> None:
    """Raise ConversionError, with the fix, when Keras runs on another backend."""
    if backend != "tensorflow":
        raise ConversionError(
            f"exporting needs Keras on TensorFlow, but it runs on {backend}",
            fix=("fix with: KERAS_BACKEND=tensorflow (a saved .keras file opens on any backend)"),
        )


def reason(error: Exception) -> str:
    """The first line of an exception's message; those of the converters run to pages."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def as_float32(model: keras.Model) -> keras.Model:
    """The same model computing in float32; `model` itself where it already does.

    Mixed precision speeds up training. A file for the device, and the reference it is compared
    with, hold no bfloat16 or float16 arithmetic.
    """
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def in_float32(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=in_float32)
    copy.set_weights(model.get_weights())
    return copy


def as_list(tensors: Any) -> list[Any]:
    """A layer's `input` or `output`, which Keras gives bare where there is one."""
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def readers(model: keras.Model) -> Callable[[keras.Layer], list[keras.Layer]]:
    """A function that gives the layers of `model` that read a layer's output."""
    found: dict[int, list[keras.Layer]] = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            for tensor in as_list(layer.input):
                found.setdefault(id(tensor), []).append(layer)
    return lambda layer: found.get(id(layer.output), [])


class _HardSwishInParts(keras.layers.Layer):
    """Hard-swish as a subtraction and two products, which no converter takes for hard-swish."""

    def call(self, x: Any) -> Any:
        return x * keras.ops.relu6(x - (-3.0)) * (1 / 6)  # x + 3 would be recognised


def spell_out_hard_swish(model: keras.Model) -> keras.Model:
    """The same model with hard-swish in elementary steps, for int8 in TFLite; or `model` itself.

    XNNPACK has a kernel for hard-swish in float but not in int8: the graph falls into a
    partition around each, and MobileNet V3-Large runs slower in int8 (7.9 ms at 224 px, one x86
    thread) than in float (6.6); in steps it takes 3.6 ms. The price, on short trial runs: none
    to 0.16 points of pixels that agree with Keras.
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
    """The model, or what follows its normalisation, under a fixed name.

    Keras numbers nameless models, and the numbers would end up in the exported bytes.
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
    """Whether the mean is a pixel value, so that a scale and a zero point say it exactly."""
    return 0 <= normalisation.mean <= 255 and normalisation.mean == int(normalisation.mean)


def check_calibration(calibration: Sequence[NDArray[np.uint8]], spec: ModelSpec) -> None:
    """Check what int8 needs of its pictures and of the contract. Raises ConversionError."""
    if not exact_mean(spec.normalisation):
        raise ConversionError(
            f"int8 needs a normalisation mean that is a whole pixel value of 0..255, found "
            f"{spec.normalisation.mean}: train with the default mean of 128"
        )
    if not len(calibration):
        raise ConversionError(
            "int8 needs calibration pictures",
            fix="32 of the training set will do",
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
    """The calibration grids as the network sees them, float32 (1, H, W, 3)."""
    for grid in calibration:
        pixels = grid.astype(np.float32)[np.newaxis]
        yield (pixels - np.float32(normalisation.mean)) / np.float32(normalisation.std)
