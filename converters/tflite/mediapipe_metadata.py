"""Write TFLite Metadata, which MediaPipe reads from a .tflite file.

It is a flatbuffer in one of the model's buffers, by metadata_schema.fbs 1.5.0
(https://github.com/google-ai-edge/mediapipe/tree/master/mediapipe/tasks/metadata). It describes
input and output, and names `labels.txt`, which `seal` of `model_files/embedded_contract.py`
appends. Google's own writers cannot be imported from the wheel of mediapipe 1.2.2, where a
compiled module is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS as OUTPUT_LABELS
from converters.freeze import LOGITS, PIXELS, exact_mean
from unet_edge.model_files.embedded_contract import LABELS
from unet_edge.spec import ModelSpec

#: The tables to write, with their fields in the schema's order up to the last field used: the
#: position of a field is its number. A union is two fields, its type and its value.
_TABLES: dict[str, dict[str, str]] = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": "string",
        "license": "string",
        "associated_files": "[AssociatedFile]",
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
        "associated_files": "[AssociatedFile]",
        "input_process_units": "[ProcessUnit]",
        "output_process_units": "[ProcessUnit]",
        "input_tensor_groups": "[TensorGroup]",
        "output_tensor_groups": "[TensorGroup]",
        "custom_metadata": "[CustomMetadata]",
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": "[string]",
        "content": "Content",
        "process_units": "[ProcessUnit]",
        "stats": "Stats",
        "associated_files": "[AssociatedFile]",
    },
    "Content": {
        "content_properties_type": "byte",
        "content_properties": "ImageProperties",
        "range": "ValueRange",
    },
    "ImageProperties": {"color_space": "byte", "default_size": "ImageSize"},
    "ImageSize": {"width": "int", "height": "int"},
    "ValueRange": {"min": "int", "max": "int"},
    "ProcessUnit": {"options_type": "byte", "options": "NormalizationOptions"},
    "NormalizationOptions": {"mean": "[float]", "std": "[float]"},
    "Stats": {"max": "[float]", "min": "[float]"},
    "AssociatedFile": {"name": "string", "description": "string", "type": "byte"},
    "CustomMetadata": {"name": "string", "data": "bytes"},
    # image_segmenter_metadata_schema.fbs 1.0.0
    "ImageSegmenterOptions": {"activation": "byte", "min_parser_version": "string"},
}

# Values of the schema's enumerations and unions.
_IMAGE_PROPERTIES = 2
_RGB, _GRAYSCALE = 1, 2
_NORMALIZATION_OPTIONS = 1
_TENSOR_AXIS_LABELS = 2
_TENSOR_VALUE_LABELS = 3
_SOFTMAX = 2


def add_metadata(model: Any, spec: ModelSpec, schema: Any) -> None:
    """Add the metadata of `spec` to `model`, a `schema.ModelT` with one input and one output."""
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(describe(spec), np.uint8)
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def describe(spec: ModelSpec) -> bytes:
    """The ModelMetadata flatbuffer of a model; the same contract gives the same bytes."""
    subgraph = {
        "input_tensor_metadata": [_pixels(spec)],
        "output_tensor_metadata": [_scores()],
        "custom_metadata": [_segmenter_options()],
    }
    if spec.output == "labels":
        # No options for MediaPipe's segmenter: it computes its masks from scores.
        subgraph = {
            "input_tensor_metadata": [_pixels(spec)],
            "output_tensor_metadata": [_labels()],
        }
    model = {
        "name": spec.name,
        "description": f"Semantic segmentation, {len(spec.classes)} classes, by unet-edge.",
        "subgraph_metadata": [subgraph],
        "min_parser_version": "1.5.0",  # the first with custom_metadata
    }
    return _flatbuffer("ModelMetadata", model, b"M001")


def _pixels(spec: ModelSpec) -> dict[str, Any]:
    # MediaPipe normalises before the input's quantisation; together they leave a uint8 pixel as it
    # is. Without `exact_mean` the input has no quantisation.
    exact = exact_mean(spec.normalisation)
    mean, std = (spec.normalisation.mean, spec.normalisation.std) if exact else (0.0, 1.0)
    fitted = {"letterbox": "letterboxed", "stretch": "stretched"}[spec.fit]
    return {
        "name": PIXELS,
        "description": f"RGB pixels, uint8. In training, pictures were {fitted} to this size; "
        "MediaPipe stretches them.",
        "content": {
            "content_properties_type": _IMAGE_PROPERTIES,
            "content_properties": {
                "color_space": _RGB,
                "default_size": {"width": spec.width, "height": spec.height},
            },
        },
        "process_units": [
            {"options_type": _NORMALIZATION_OPTIONS, "options": {"mean": [mean], "std": [std]}}
        ],
        "stats": {"max": [255.0], "min": [0.0]},
    }


def _scores() -> dict[str, Any]:
    return {
        "name": LOGITS,
        "description": "A score for each pixel and class; the highest is the pixel's class.",
        "content": {
            "content_properties_type": _IMAGE_PROPERTIES,
            "content_properties": {"color_space": _GRAYSCALE},
            "range": {"min": 1, "max": 2},  # the axes of one class's picture
        },
        "associated_files": [
            {
                "name": LABELS,
                "description": "The classes in the order of the last axis.",
                "type": _TENSOR_AXIS_LABELS,
            }
        ],
    }


def _labels() -> dict[str, Any]:
    return {
        "name": OUTPUT_LABELS,
        "description": "The class of each pixel.",
        "associated_files": [
            {"name": LABELS, "description": "The classes.", "type": _TENSOR_VALUE_LABELS}
        ],
    }


def _segmenter_options() -> dict[str, Any]:
    options = {"activation": _SOFTMAX, "min_parser_version": "1.0.0"}
    return {
        "name": "SEGMENTER_METADATA",
        "data": _flatbuffer("ImageSegmenterOptions", options, b"V001"),
    }


def _flatbuffer(table: str, values: dict[str, Any], identifier: bytes) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, table, values), identifier)
    return bytes(builder.Output())


def _table(builder: Any, table: str, values: dict[str, Any]) -> int:
    """Write a table after everything that it refers to; returns its offset."""
    kinds = _TABLES[table]
    stored = {name: _stored(builder, kinds[name], value) for name, value in values.items()}
    builder.StartObject(len(kinds))
    for slot, (name, kind) in enumerate(kinds.items()):
        if name not in stored:
            continue
        match kind:
            case "byte":
                builder.PrependInt8Slot(slot, stored[name], 0)
            case "int":
                builder.PrependInt32Slot(slot, stored[name], 0)
            case _:
                builder.PrependUOffsetTRelativeSlot(slot, stored[name], 0)
    offset: int = builder.EndObject()
    return offset


def _stored(builder: Any, kind: str, value: Any) -> int:
    """The value of a scalar. Any other value is written, and its offset is returned."""
    offset: int
    match kind:
        case "byte" | "int":
            return int(value)
        case "string":
            offset = builder.CreateString(value)
            return offset
        case "bytes":
            builder.StartVector(1, len(value), 16)  # force_align in the schema
            for byte in reversed(value):
                builder.PrependByte(byte)
        case "[float]":
            builder.StartVector(4, len(value), 4)
            for number in reversed(value):
                builder.PrependFloat32(number)
        case _ if kind.startswith("["):
            offsets = [_table(builder, kind[1:-1], item) for item in value]
            builder.StartVector(4, len(offsets), 4)
            for offset in reversed(offsets):
                builder.PrependUOffsetTRelative(offset)
        case _:
            return _table(builder, kind, value)
    offset = builder.EndVector()
    return offset
