"""int8 in TFLite: calibrate once, then convert with any choice of layers in float32.

TensorFlow's QuantizationDebugger keeps the calibrated graph and quantises it again for each choice
in a third of a second. A new converter for each choice would calibrate again. See
docs/decisions/034-int8-search.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from converters.freeze import (
    check_calibration,
    exact_mean,
    freeze,
    normalise,
    reason,
    spell_out_hard_swish,
)
from converters.kernel_matching import match_kernels
from converters.layers import convolutions
from converters.tflite.check import check
from converters.tflite.edit import builtin_code
from converters.tflite.int8_scores import centred, score_range
from converters.tflite.ranges import prepare_ranges
from converters.tflite.tensors import finish
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec
from unet_edge.system.captured_output import captured_output

_KERNEL_ORDERS = {
    "CONV_2D": (0, 3, 1, 2),
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),
    "TRANSPOSE_CONV": (0, 3, 1, 2),
}
"""The operators that can stay in float, those with weights, and the order of their kernel's axes
that gives (out, in, height, width)."""


class Int8Converter:
    """Calibrates a model once, and converts it to int8 files.

    `calibration`: grids, uint8 (H, W, 3). Raises ConversionError when they do not fit the model
    or when TensorFlow's converter fails.
    """

    def __init__(
        self, model: keras.Model, spec: ModelSpec, calibration: Sequence[NDArray[np.uint8]]
    ) -> None:
        check_calibration(calibration, spec)
        self._spec = spec
        self._name = model.name
        with captured_output():
            import tensorflow as tf

            self._options = tf.lite.experimental.QuantizationDebugOptions
            source = spell_out_hard_swish(centred(model))
            frozen = freeze(source, height=spec.height, width=spec.width, normalised=True)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: representative(calibration, spec)
            try:
                self._debugger = tf.lite.experimental.QuantizationDebugger(
                    converter=converter,
                    debug_dataset=lambda: representative(calibration, spec),
                    debug_options=self._options(fully_quantize=True),
                )
            except Exception as error:  # The converter raises its own type, ValueError and more.
                raise ConversionError(
                    f"TensorFlow cannot quantise {model.name}: {reason(error)}"
                ) from error
        self._score_range = score_range(model, calibration)
        self._calibrated = bytes(self._debugger.calibrated_model)
        self._nodes = _nodes(self._calibrated, source)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that `convert` can leave in float32: all convolutions, in order."""
        return tuple(self._nodes)

    def convert(self, float_layers: Sequence[str] = ()) -> bytes:
        """The bytes of a .tflite file without its contract, with `float_layers` in float32.

        Input `pixels`: uint8 (1, H, W, 3). Output, by the contract: `logits`, uint8
        (1, H, W, classes) with a scale and a zero point, or float32 if the last convolution is in
        float; or `labels`, uint8 (1, H, W). Raises ConversionError for a name that is not one of
        `layers`.
        """
        if strange := sorted(set(float_layers) - set(self.layers)):
            raise ConversionError(
                f"{', '.join(strange)} cannot be left in float",
                expected=f"the convolutions of {self._name} are {', '.join(self.layers)}",
            )
        nodes = [self._nodes[name] for name in float_layers]
        self._debugger.calibrated_model = prepare_ranges(self._calibrated, nodes)
        with captured_output():
            try:
                self._debugger.options = self._options(fully_quantize=True, denylisted_nodes=nodes)
                converted = self._debugger.get_nondebug_quantized_model()
            except Exception as error:  # The converter raises its own type, ValueError and more.
                raise ConversionError(
                    f"TensorFlow cannot quantise {self._name}: {reason(error)}"
                ) from error
        data = finish(
            bytes(converted),
            self._spec,
            exact_mean(self._spec.normalisation),
            score_range=self._score_range,
        )
        check(data, self._spec)
        return data


def representative(
    calibration: Sequence[NDArray[np.uint8]], spec: ModelSpec
) -> Iterator[list[NDArray[np.float32]]]:
    """The calibration pictures, with a black and a white pixel in the first one.

    The converter takes the input's range from the data. Pixels 0 and 255 make it the range of
    uint8, so the scale becomes 1/std and the zero point the mean.
    """
    first = calibration[0].copy()
    first[0, 0], first[-1, -1] = 0, 255
    for picture in normalise([first, *calibration[1:]], spec.normalisation):
        yield [picture]


def _nodes(calibrated: bytes, model: keras.Model) -> dict[str, str]:
    """The output tensor of each convolution, by the name of its Keras layer, first to last.

    The converter names a tensor after some of the operations that were fused into it, in no fixed
    order, so layers are found by their kernels. A convolution that the converter has changed
    beyond recognition has no entry: it is always in int8.
    """
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.ModelT.InitFromPackedBuf(bytes(calibrated), 0)
    (graph,) = parsed.subgraphs
    orders = {
        getattr(schema.BuiltinOperator, name): order for name, order in _KERNEL_ORDERS.items()
    }
    tensors, kernels = [], []
    for operator in graph.operators:
        order = orders.get(builtin_code(parsed, operator))
        if order is None:
            continue
        kernel = graph.tensors[operator.inputs[1]]
        data = parsed.buffers[kernel.buffer].data
        if data is None:
            continue
        values = np.frombuffer(bytes(data), np.float32).reshape(kernel.shape)
        kernels.append(values.transpose(order))
        tensors.append(graph.tensors[operator.outputs[0]].name.decode())
    found = match_kernels(convolutions(model), kernels)
    return {name: tensors[index] for name, index in found.items()}
