"""The pip packages that run models, and the format that each of them reads."""

from __future__ import annotations

from typing import Literal

from unet_edge.model_files.embedded_contract import Format

Package = Literal["ai-edge-litert", "tflite-runtime", "onnxruntime", "openvino"]

PACKAGES: dict[Format, tuple[Package, ...]] = {
    # tflite-runtime is LiteRT's unmaintained predecessor.
    "tflite": ("ai-edge-litert", "tflite-runtime"),
    # An export measures agreement with onnxruntime.
    "onnx": ("onnxruntime", "openvino"),
}
"""The packages of each format in order of preference: the first that works is used."""


def format_read_by(package: Package) -> Format:
    """The format that a package reads."""
    return next(file_format for file_format, read in PACKAGES.items() if package in read)
