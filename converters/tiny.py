"""Make the tiny models that `unet-edge doctor` tries interpreters with: python -m converters.tiny.

Writes four files to unet_edge/runtime/tiny, each with one convolution: class 1 is where a pixel is
more red than blue. Also writes the model that shows whether int8 sums saturate. The files are
committed, because a device cannot make them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from converters.onnx.conversion import to_onnx
from converters.tflite.conversion import to_tflite
from unet_edge.model_files.embedded_contract import Contract, Format, seal
from unet_edge.spec import ModelSpec
from unet_edge.system.files import write_atomically

RUNTIME = Path(__file__).parents[1] / "unet_edge" / "runtime"
FOLDER = RUNTIME / "tiny"
LARGEST_WEIGHTS = RUNTIME / "backends" / "largest_weights.onnx"
SPEC = ModelSpec(16, 16, ("blue", "red"), name="tiny")


def tiny_model() -> keras.Model:
    """A model whose scores are a pixel's blue and red; its 3x3 kernel is 0 except in the centre."""
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, 2, 0] = kernel[1, 1, 0, 1] = 1
    pixels = keras.Input((SPEC.height, SPEC.width, 3), name="pixels")
    scaled = keras.layers.Rescaling(1 / 128, offset=-1.0, name="normalise")(pixels)
    convolution = keras.layers.Conv2D(2, 3, padding="same", name="logits")
    model = keras.Model(pixels, convolution(scaled))
    convolution.set_weights([kernel, np.zeros(2, np.float32)])
    return model


def tiny_files() -> dict[str, bytes]:
    """The bytes of every file, by name."""
    model = tiny_model()
    ramp = np.linspace(0, 255, SPEC.height * SPEC.width * 3)
    calibration = [ramp.astype(np.uint8).reshape(SPEC.height, SPEC.width, 3)]
    files = {}
    precisions: tuple[Literal["float32", "int8"], ...] = ("float32", "int8")
    for precision in precisions:
        converted: dict[Format, bytes] = {
            "tflite": to_tflite(model, SPEC, precision, calibration),
            "onnx": to_onnx(model, SPEC, precision, calibration),
        }
        for file_format, data in converted.items():
            files[f"{precision}.{file_format}"] = seal(data, Contract(SPEC, file_format, precision))
    return files


def largest_weights() -> bytes:
    """An .onnx file whose int8 sums saturate on processors where that happens.

    Input: uint8 (1, 16, 8, 8), pixels. Output: their mean over the channels divided by 255,
    float32 (1, 16, 8, 8), computed with weights of 127. `backends/int8_sums.py` runs it.
    """
    from onnx import TensorProto, helper, numpy_helper

    shape = (1, 16, 8, 8)
    constants: dict[str, Any] = {
        "kernel": np.full((16, 16, 1, 1), 127, np.int8),
        "kernel_scale": np.float32(1 / 127 / 16),
        "kernel_zero": np.int8(0),
        "scale": np.float32(1 / 255),
        "zero": np.uint8(0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "scale", "zero"], ["real"]),
        helper.make_node(
            "DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["real_kernel"]
        ),
        helper.make_node("Conv", ["real", "real_kernel"], ["mean"]),
        # onnxruntime computes in integers only if the output is quantised too.
        helper.make_node("QuantizeLinear", ["mean", "scale", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["sums"]),
    ]
    graph = helper.make_graph(
        nodes,
        "largest_weights",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", 14)])
    return bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    for name, data in tiny_files().items():
        write_atomically(FOLDER / name, data)
    write_atomically(LARGEST_WEIGHTS, largest_weights())
