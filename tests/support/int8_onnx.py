"""An int8 .onnx file of one convolution with given weights."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 8


def int8_onnx(kernel: NDArray[np.int8], groups: int = 1, step: int = 1) -> bytes:
    """Make a file from pixels, uint8 (1, 8, 8, in), to logits, float32 (1, H, W, out).

    `kernel` is int8 (out, in / groups, height, width); H and W are what it leaves of 8. If nothing
    saturates, a logit is the sum of weight * pixel divided by 255, rounded to multiples of `step`
    and clipped to 0..255 of them.
    """
    out, channels = kernel.shape[0], kernel.shape[1] * groups
    height, width = (SIZE - side + 1 for side in kernel.shape[2:])
    constants = {
        "kernel": kernel,
        "kernel_scale": np.full(out, 1 / 255, np.float32),
        "kernel_zero": np.zeros(out, np.int8),
        "one": np.float32(1),
        "step": np.float32(step),
        "zero": np.uint8(0),
    }
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=(0, 3, 1, 2)),
        helper.make_node("DequantizeLinear", ["planes", "one", "zero"], ["real"]),
        helper.make_node(
            "DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["real_kernel"], axis=0
        ),
        helper.make_node("Conv", ["real", "real_kernel"], ["sums"], group=groups),
        helper.make_node("QuantizeLinear", ["sums", "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=(0, 2, 3, 1)),
    ]
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, (1, SIZE, SIZE, channels))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, height, width, out))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", 14)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def expected_logits(kernel: NDArray[np.int8], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits of `int8_onnx` for pixels (8, 8, in), with sums in 32 bits."""
    sums = pixels.astype(np.int64) @ kernel[:, :, 0, 0].astype(np.int64).T
    return np.clip(np.round(sums / 255), 0, 255).astype(np.float32)
