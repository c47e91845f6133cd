"""The name of each kind of file in a bundle, and its conversion."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import assert_never

import keras

from converters.device_graph.rewriting import for_device
from converters.float_layers import float_layers_of
from converters.int8.correction import correct_channels
from converters.int8.fitting import fit_to_int8
from converters.int8.kernels import Rounding
from converters.onnx.conversion import float_graph, to_onnx
from converters.settings import Artifact
from converters.tflite.conversion import dynamic_float_layers, float_file, to_tflite
from unet_edge.images.placement import Pixels
from unet_edge.model_files.embedded_contract import Format, Precision
from unet_edge.spec import ModelSpec

INTEGERS: tuple[Precision, ...] = ("int8", "int16x8", "dynamic")
"""The precisions with int8 weights. They need calibration pictures, and a search replaces them."""


def file_name(artifact: Artifact) -> str:
    """The name of a file in a bundle, such as model-int8.tflite."""
    file_format, precision = artifact
    return f"model-{precision}.{file_format}"


class Converter:
    """Converts a model to every kind of file.

    `grids`: calibration pictures, uint8 (H, W, 3). With `full_integer`, int8 leaves no layer in
    float32. Float32 and float16 files of a format share its conversion.
    """

    def __init__(
        self,
        model: keras.Model,
        spec: ModelSpec,
        grids: Sequence[Pixels],
        *,
        full_integer: bool = False,
    ) -> None:
        self._model, self._spec = model, spec
        self._grids, self._full_integer = grids, full_integer
        self._device_models: dict[Format, keras.Model] = {}

    def convert(self, artifact: Artifact) -> tuple[bytes, tuple[str, ...]]:
        """Convert to a file's bytes, without contract, with the best preparation for its kind.

        Also returns the names of the layers that int8 leaves in float32. Raises ConversionError.
        """
        file_format, precision = artifact
        model = self._for_device(file_format)
        float_layers: tuple[str, ...] = ()
        if precision == "int8" and not self._full_integer:
            float_layers = float_layers_of(model, file_format)
        source = _prepared(model, artifact, self._grids, float_layers)
        shared = source is model
        spec, grids = self._spec, self._grids
        match file_format:
            case "tflite":
                layers = float_layers if precision == "int8" else None
                converted = self._float_file if shared else None
                data = to_tflite(
                    source, spec, precision, grids, float_layers=layers, converted=converted
                )
            case "onnx":
                graph = self._float_graph if shared else None
                data = to_onnx(
                    source, spec, precision, grids, float_layers=float_layers, graph=graph
                )
            case _:
                assert_never(file_format)
        return data, float_layers

    def _for_device(self, file_format: Format) -> keras.Model:
        if file_format not in self._device_models:
            self._device_models[file_format] = for_device(self._model, file_format)
        return self._device_models[file_format]

    @cached_property
    def _float_file(self) -> bytes:
        return float_file(self._for_device("tflite"), self._spec)

    @cached_property
    def _float_graph(self) -> bytes:
        return float_graph(self._for_device("onnx"), self._spec)


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
