"""Convert a Keras model to the bytes of a .tflite file with uint8 pixels as input.

In every precision, the input tensor's scale and zero point are the normalisation. If the first
convolution computes in float, a DEQUANTIZE in front of it normalises the pixels. XNNPACK runs
float32, float16 and int8 graphs as a single partition.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from converters.float_layers import float_layers_of
from converters.freeze import (
    check_calibration,
    exact_mean,
    freeze,
    reason,
    spell_out_hard_swish,
)
from converters.layers import convolutions
from converters.tflite.check import check
from converters.tflite.int8 import Int8Converter, representative
from converters.tflite.tensors import finish
from unet_edge.errors import ConversionError
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.spec import ModelSpec
from unet_edge.system.captured_output import captured_output

FLOATS: tuple[Precision, ...] = ("float32", "float16")
"""The precisions that compute in float32 and differ only in how weights are stored."""

# By default, TensorFlow's converter leaves kernels with fewer weights in float.
_DYNAMIC_LEAST = 1024


def to_tflite(
    model: keras.Model,
    spec: ModelSpec,
    precision: Precision,
    calibration: Sequence[NDArray[np.uint8]] = (),
    *,
    float_layers: Sequence[str] | None = None,
    converted: bytes | None = None,
) -> bytes:
    """Convert `model` to the bytes of a .tflite file without its contract.

    Input `pixels`: uint8 (1, H, W, 3). Output, by the contract: `logits`, float32
    (1, H, W, classes), or uint8 with a scale and a zero point if the last convolution is in int8;
    or `labels`, uint8 (1, H, W).

    `calibration`: grids, uint8 (H, W, 3), for int8 and int16x8. `float_layers`: names of Keras
    layers that int8 leaves in float32, by default `float_layers_of`; see `Int8Converter.layers`.
    The same model and calibration give the same bytes. MediaPipe can read the file after
    `embedded_contract.seal` has appended the labels. `converted` is the model's `float_file`, from
    which float32 and float16 files are made, for callers that need it twice.

    The precisions:
    - float32
    - float16: wide kernels are stored in 16 bits; everything is computed in float32
    - dynamic: int8 weights; activations are scaled while the file runs
    - int8: everything except `float_layers`
    - int16x8: int8 weights and int16 activations, for which XNNPACK has no kernels

    Raises ConversionError when settings do not fit together, when TensorFlow's converter fails, or
    when operators, input quantisation or shapes of the result are wrong.
    """
    if precision not in get_args(Precision):
        raise ConversionError(
            f"unknown precision {precision!r}",
            fix=f"choose one of {', '.join(get_args(Precision))}",
        )
    if precision == "int8":
        names = float_layers_of(model) if float_layers is None else float_layers
        return Int8Converter(model, spec, calibration).convert(names)
    if float_layers is not None:
        raise ConversionError(f"float_layers are for int8, not for {precision}")
    if precision == "int16x8":
        check_calibration(calibration, spec)
    if converted is None or precision not in FLOATS:
        converted = _converted(model, spec, precision, calibration)
    halves = precision == "float16"
    data = finish(converted, spec, exact_mean(spec.normalisation), halves=halves)
    check(data, spec)
    return data


def float_file(model: keras.Model, spec: ModelSpec) -> bytes:
    """Convert `model` to the .tflite bytes that float32 and float16 files are made from.

    Raises ConversionError when TensorFlow's converter fails.
    """
    return _converted(model, spec, "float32", ())


def dynamic_float_layers(model: keras.Model) -> tuple[str, ...]:
    """Names of the convolutions that dynamic files leave in float: fewer than 1,024 weights."""
    return tuple(
        layer.name
        for layer in convolutions(model)
        if math.prod(layer.kernel.shape) < _DYNAMIC_LEAST
    )


def _converted(
    model: keras.Model,
    spec: ModelSpec,
    precision: Precision,
    calibration: Sequence[NDArray[np.uint8]],
) -> bytes:
    """Convert with TensorFlow's converter; input and output are float unless `exact_mean` fails."""
    with captured_output():
        import tensorflow as tf

        exact = exact_mean(spec.normalisation)
        if precision == "int16x8":
            model = spell_out_hard_swish(model)  # the converter has no 16x8 hard-swish
        frozen = freeze(model, height=spec.height, width=spec.width, normalised=exact)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if precision not in FLOATS:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "int16x8":
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
            converter.representative_dataset = lambda: representative(calibration, spec)
        try:
            return bytes(converter.convert())
        except Exception as error:  # The converter raises its own type, ValueError and more.
            cause = _missing(error, frozen) or reason(error)
            raise ConversionError(f"TensorFlow cannot convert {model.name}: {cause}") from error


def _missing(error: Exception, frozen: Any) -> str:
    """The operators that LiteRT does not have, with their layers; "" for other errors."""
    named = re.findall(r"^(?:Custom|Flex|TF Select) ops: (.+)$", str(error), re.MULTILINE)
    kinds = {kind.removeprefix("Flex") for names in named for kind in names.split(", ")}
    found = (
        f"{node.op} in {node.name}" for node in frozen.graph.as_graph_def().node if node.op in kinds
    )
    places = ", ".join(sorted(found))
    return f"LiteRT does not have {places}" if places else ""
