"""What a plain call of TensorFlow's converter makes of a model, for comparison with our files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from numpy.typing import NDArray

from unet_edge.system.captured_output import captured_output

PlainPrecision = Literal["float32", "float16", "int8"]


def plain_file(
    model: keras.Model, precision: PlainPrecision, pictures: Sequence[NDArray[Any]] = ()
) -> bytes:
    """Convert `model` as TensorFlow's guide does: float in and out.

    `pictures`: the model's inputs, float32 (1, H, W, 3), which calibrate int8. The file is the one
    of the guide's "full integer quantization" with float fallback, whose kernels are integers.
    Source: ai.google.dev/edge/litert/models/post_training_quantization.
    """
    with captured_output():
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = lambda: ([picture] for picture in pictures)
        data: bytes = converter.convert()
        return data


def plain_int8(model: keras.Model, pictures: Sequence[NDArray[Any]]) -> bytes:
    """The plain int8 file of a model that takes float pictures (1, H, W, 3)."""
    return plain_file(model, "int8", pictures)


class PlainFile:
    """A file in LiteRT: its own input (1, H, W, 3) in, its own scores out."""

    def __init__(self, data: bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=data, num_threads=threads)
        source = self._interpreter.get_input_details()[0]
        self._input = source["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._dtype = source["dtype"]
        self._interpreter.allocate_tensors()

    def scores(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Run the file on one picture."""
        self._interpreter.set_tensor(self._input, picture.astype(self._dtype, copy=False))
        self._interpreter.invoke()
        result: NDArray[Any] = self._interpreter.get_tensor(self._output)
        return result
