"""The name of each kind of file in a bundle, and its conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import keras

from converters.float_layers import float_layers_of
from converters.int8.correction import correct_channels
from converters.int8.fitting import fit_to_int8
from converters.int8.kernels import Rounding
from converters.onnx.conversion import to_onnx
from converters.settings import Artifact
from converters.tflite.conversion import dynamic_float_layers, to_tflite
from unet_edge.images.placement import Pixels
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.spec import ModelSpec

INTEGERS: tuple[Precision, ...] = ("int8", "int16x8", "dynamic")
"""The precisions with int8 weights. They need calibration pictures, and a search replaces them."""


def file_name(artifact: Artifact) -> str:
    """The name of a file in a bundle, such as model-int8.tflite."""
    file_format, precision = artifact
    return f"model-{precision}.{file_format}"


def convert(
    model: keras.Model,
    spec: ModelSpec,
    artifact: Artifact,
    grids: Sequence[Pixels],
    *,
    full_integer: bool = False,
) -> tuple[bytes, tuple[str, ...]]:
    """Convert a model to a file's bytes, without contract, with the best preparation for its kind.

    `grids`: calibration pictures, uint8 (H, W, 3). With `full_integer`, int8 leaves no layer in
    float32. Also returns the names of the layers that int8 leaves in float32. Raises
    ConversionError.
    """
    file_format, precision = artifact
    float_layers: tuple[str, ...] = ()
    if precision == "int8" and not full_integer:
        float_layers = float_layers_of(model, file_format)
    source = _prepared(model, artifact, grids, float_layers)
    match file_format:
        case "tflite":
            layers = float_layers if precision == "int8" else None
            data = to_tflite(source, spec, precision, grids, float_layers=layers)
        case "onnx":
            data = to_onnx(source, spec, precision, grids, float_layers=float_layers)
        case _:
            assert_never(file_format)
    return data, float_layers


def _prepared(
    model: keras.Model,
    artifact: Artifact,
    grids: Sequence[Pixels],
    float_layers: tuple[str, ...],
) -> keras.Model:
    """The model to convert, fitted or corrected so that the file agrees best with `model`."""
    file_format, precision = artifact
    match precision:
        case "int8":
            rounding: Rounding = "bounded" if file_format == "onnx" else "plain"
            return fit_to_int8(model, grids, float_layers, rounding=rounding)
        case "dynamic":
            return correct_channels(model, grids, dynamic_float_layers(model))
        case "int16x8":
            return correct_channels(model, grids)
        case "float32" | "float16":
            return model
        case _:
            assert_never(precision)
