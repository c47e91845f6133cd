"""Whether ONNX Runtime's int8 sums saturate on this processor, and the option that prevents it.

On x86 without VNNI, ONNX Runtime adds pairs of products in 16 bits, which saturate (see
`model_files/saturation.py`). The session option `session.x64quantprecision` selects other kernels.
A convolution with the largest weights shows whether sums saturate; no list of processors is used.
"""

from __future__ import annotations

import functools
import platform
import struct
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.errors import BackendError
from unet_edge.model_files.onnx_graph import read_onnx
from unet_edge.system.board import X86

CAREFUL = ("session.x64quantprecision", "1")
"""The session option; it matters on x86 only and exists since ONNX Runtime 1.11.
https://github.com/microsoft/onnxruntime, onnxruntime_session_options_config_keys.h"""

SUFFIX = ", 32-bit sums"
"""The end of the name of a backend that uses CAREFUL."""

_PROBE = Path(__file__).with_name("largest_weights.onnx")
"""A 1x1 convolution, uint8 (1, 16, 8, 8) to float32, see converters/tiny.py. Pixels of 255 give 1
where sums are right, about 0.5 where they saturate."""

_SHAPE = (1, 16, 8, 8)


def careful_options(model: bytes) -> dict[str, str]:
    """The session options that an .onnx file needs on this processor for right masks; mostly none.

    Raises BackendError where sums saturate and no option prevents it.
    """
    # Every int8 file contains the operator name "QuantizeLinear".
    if b"QuantizeLinear" not in model or not sums_saturate() or not _can_saturate(model):
        return {}
    key, value = CAREFUL
    if sums_saturate(careful=True):
        from unet_edge.system.board import read_processor

        raise BackendError(
            "the installed onnxruntime computes this int8 file wrongly on "
            f"{read_processor()}: sums saturate in 16 bits",
            fix="run: pip install --upgrade onnxruntime, or export the bundle again",
        )
    return {key: value}


@functools.cache
def sums_saturate(*, careful: bool = False) -> bool:
    """Whether ONNX Runtime's int8 sums saturate on this processor, with CAREFUL or without."""
    if platform.machine().lower() not in X86:
        return False
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if careful:
        options.add_session_config_entry(*CAREFUL)
    try:
        session = onnxruntime.InferenceSession(
            _PROBE.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        (sums,) = session.run(None, {session.get_inputs()[0].name: np.full(_SHAPE, 255, np.uint8)})
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this
        raise BackendError(f"onnxruntime cannot run a tiny int8 model: {error}") from error
    return bool(sums.min() < 0.99)  # its output has steps of 1/255


def _can_saturate(model: bytes) -> bool:
    try:
        return read_onnx(model).can_saturate
    except (ValueError, IndexError, TypeError, OverflowError, struct.error):
        return True  # a needless option costs time, a missing one the mask
