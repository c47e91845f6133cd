"""TFLite Metadata in the file; test_mediapipe.py tests how MediaPipe uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.conversion import to_tflite
from converters.tflite.mediapipe_metadata import describe
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.spec import ModelSpec


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_file_carries_the_metadata_of_its_contract(
    trained: Any, spec: ModelSpec, calibration: Any, precision: Precision
) -> None:
    data = to_tflite(trained, spec, precision, calibration[:2])
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    entries = {entry.name.decode(): entry.buffer for entry in model.metadata}
    assert "min_runtime_version" in entries  # the converter's own entry stays
    assert bytes(model.buffers[entries["TFLITE_METADATA"]].data) == describe(spec)


def test_metadata_is_a_flatbuffer_that_follows_the_contract(spec: ModelSpec) -> None:
    metadata = describe(spec)
    assert metadata[4:8] == b"M001"
    assert metadata == describe(replace(spec, palette=((1, 2, 3), (4, 5, 6), (7, 8, 9))))
    assert metadata != describe(replace(spec, height=48))
    assert metadata != describe(replace(spec, name="discs"))
    assert b"letterboxed" in metadata
    assert b"letterboxed" not in describe(replace(spec, fit="stretch"))
