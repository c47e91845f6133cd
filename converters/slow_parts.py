"""What of an exported file is slow on the device, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from converters.settings import Artifact
from converters.tflite.check import outside_xnnpack, partitions
from converters.tflite.labels import OPERATORS as LABEL_OPERATORS
from unet_edge.system.counting import counted

# Of int8 files: from uint8 pixels and to uint8 scores, which only adds 128 to each value. XNNPACK
# has its own kernels for all other QUANTIZE.
_CHEAP = LABEL_OPERATORS | {"QUANTIZE"}


def slow_operators(data: bytes) -> Counter[str]:
    """How often each operator of a .tflite file runs in a slow kernel outside XNNPACK."""
    outside = outside_xnnpack(data)
    return Counter({kind: outside[kind] for kind in sorted(outside.keys() - _CHEAP)})


def slow_text(operators: Mapping[str, int], parts: int) -> str:
    """Name operators outside XNNPACK, which runs the rest in `parts` partitions."""
    named = ", ".join(f"{kind} ({count})" for kind, count in operators.items())
    return f"XNNPACK has no kernel for {named}; it runs the rest in {counted(parts, 'partition')}"


def slow_parts(data: bytes, artifact: Artifact) -> str:
    """The operators of a .tflite file that run outside XNNPACK; "" if there are none.

    Says nothing of .onnx files, nor of int16x8, for which XNNPACK has no kernels at all.
    """
    file_format, precision = artifact
    if file_format != "tflite" or precision == "int16x8":
        return ""
    operators = slow_operators(data)
    return slow_text(operators, partitions(data)) if operators else ""
