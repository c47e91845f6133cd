"""A copy of a model that is fitted, layer by layer, to what int8 makes of it.

What an int8 file computes is imitated on calibration pictures, with every tensor and kernel
rounded, beside the float model: kernels are fitted to the inputs they will see and rounded
(`rounding`), and gains and offsets make up for what is left (`correction`). See
docs/decisions/033-fitted-kernels.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_float32, readers
from converters.int8.correction import correct, measured, outputs
from converters.int8.kernels import Rounding
from converters.int8.rounding import fit_kernel


def fit_to_int8(
    model: keras.Model,
    calibration: Sequence[NDArray[np.uint8]],
    float_layers: Collection[str] = (),
    *,
    rounding: Rounding = "plain",
) -> keras.Model:
    """A copy of `model` whose int8 file comes closer to it; convert the copy.

    `calibration`: grids, uint8 (H, W, 3); without any, `model` itself comes back. `float_layers`:
    convolutions that the file will not round. `rounding`: "plain" for .tflite files, "bounded" for
    .onnx. The copy is for this choice alone: its kernels are
    rounded already, and the converter finds the same steps again.
    """
    if not len(calibration):
        return model
    pixels = measured(calibration)
    reference = as_float32(model)
    fitted = keras.models.clone_model(reference)
    fitted.set_weights(reference.get_weights())
    wanted_inputs: list[NDArray[np.float32]] = []

    def remember(_: keras.Layer, inputs: list[NDArray[np.float32]]) -> None:
        wanted_inputs[:] = inputs

    def fit(layer: keras.Layer, inputs: list[NDArray[np.float32]]) -> None:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            rounded = None if layer.name in float_layers else rounding
            kernel = fit_kernel(layer, inputs[0], wanted_inputs[0], rounded=rounded)
            layer.kernel.assign(kernel)

    quantised = _quantised(fitted, float_layers)
    # Of each pair the reference runs first: `fit` finds its inputs in `wanted_inputs`.
    pairs = zip(outputs(reference, pixels, remember), outputs(fitted, pixels, fit), strict=True)
    for (_, wanted), (layer, found) in pairs:
        correct(layer, wanted, found)
        if layer.name in quantised:
            _round_to_uint8(found, min(0.0, float(wanted.min())), float(wanted.max()))
    return fitted


def _round_to_uint8(values: NDArray[np.float32], low: float, high: float) -> None:
    """Round to the 256 steps of a tensor from `low` to `high`, in place."""
    if high <= low:
        return
    step = (high - low) / 255
    zero = round(-low / step)
    values /= np.float32(step)
    np.rint(values, out=values)
    np.clip(values, -zero, 255 - zero, out=values)
    values *= np.float32(step)


def _quantised(model: keras.Model, float_layers: Collection[str]) -> set[str]:
    """Names of the layers whose output is a tensor of 8 bits in the file.

    What is fused into a convolution has none of its own, nor has anything between two convolutions
    in float.
    """
    readers_of = readers(model)
    fusing = layers.BatchNormalization | layers.ReLU | layers.Activation
    names = set()
    for layer in model.layers:
        behind = readers_of(layer)
        if isinstance(layer, layers.InputLayer | layers.Rescaling | layers.ZeroPadding2D):
            continue
        fused = isinstance(
            layer, layers.Conv2D | layers.DepthwiseConv2D | layers.BatchNormalization
        )
        if not behind or (fused and len(behind) == 1 and isinstance(behind[0], fusing)):
            continue
        if all(reader.name in float_layers for reader in behind):
            maker = layer
            while isinstance(maker, fusing):
                maker = maker.input._keras_history.operation
            if maker.name in float_layers:
                continue
        names.add(layer.name)
    return names
