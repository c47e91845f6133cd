"""Files of one model share its conversion, and have the bytes of a conversion of their own."""

from __future__ import annotations

import keras
import pytest

from converters.artifacts import Converter
from converters.onnx.conversion import to_onnx
from converters.tflite.conversion import to_tflite
from unet_edge.spec import ModelSpec


@pytest.mark.slow
def test_shared_conversions_give_the_same_bytes(trained: keras.Model, spec: ModelSpec) -> None:
    converter = Converter(trained, spec, [])
    # Float16 first: what it changes must not reach the float32 file.
    assert converter.convert(("tflite", "float16")) == (to_tflite(trained, spec, "float16"), ())
    assert converter.convert(("tflite", "float32")) == (to_tflite(trained, spec, "float32"), ())
    assert converter.convert(("onnx", "float16")) == (to_onnx(trained, spec, "float16"), ())
    assert converter.convert(("onnx", "float32")) == (to_onnx(trained, spec, "float32"), ())
