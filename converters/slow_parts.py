"""What of an exported file is slow on the device, for people."""

from __future__ import annotations

from converters.settings import Artifact
from converters.tflite.check import outside_xnnpack, partitions
from converters.tflite.labels import OPERATORS as LABEL_OPERATORS


def slow_parts(data: bytes, artifact: Artifact) -> str:
    """The operators of a .tflite file that run outside XNNPACK; "" if there are none.

    Says nothing of .onnx files, nor of int16x8, for which XNNPACK has no kernels at all.
    """
    file_format, precision = artifact
    if file_format != "tflite" or precision == "int16x8":
        return ""
    outside = outside_xnnpack(data)
    kinds = sorted(set(outside) - LABEL_OPERATORS)
    if not kinds:
        return ""
    named = ", ".join(f"{kind} ({outside[kind]})" for kind in kinds)
    return f"XNNPACK has no kernel for {named}; it runs the rest in {partitions(data)} parts"
