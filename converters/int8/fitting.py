"""Fit a copy of a model to int8, layer by layer.

Two models run side by side on calibration pictures: the float model, and a copy that computes as
the int8 file will. In each layer of the copy, the kernel is fitted to its rounded inputs and
rounded (`rounding`). Then gains and offsets correct the remaining error (`correction`). See
docs/decisions/033-fitted-kernels.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_float32
from converters.int8.correction import call_in_chunks, correct, fitting_pictures
from converters.int8.kernels import Rounding
from converters.int8.rounding import fit_kernel
from converters.int8.sums import Ranges, cut_sums, operands
from converters.layers import CONVOLUTIONS, outputs, readers


def fit_to_int8(
    model: keras.Model,
    calibration: Sequence[NDArray[np.uint8]],
    float_layers: Collection[str] = (),
    *,
    rounding: Rounding = "plain",
) -> keras.Model:
    """A copy of `model` to convert to int8, whose file agrees better with `model`.

    `calibration`: grids, uint8 (H, W, 3); without any, returns `model` itself. `float_layers`:
    convolutions that the file leaves in float32. `rounding`: "plain" for .tflite files, "bounded"
    for .onnx. The copy fits this choice only. Its kernels are rounded already, and the converter
    finds the same steps again.
    """
    if not len(calibration):
        return model
    pixels = fitting_pictures(calibration)
    reference = as_float32(model)
    fitted = keras.models.clone_model(reference)
    fitted.set_weights(reference.get_weights())
    float_inputs: list[NDArray[np.float32]] = []

    def run_reference(layer: keras.Layer, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        float_inputs[:] = inputs
        return call_in_chunks(layer, inputs)

    def run_fitted(layer: keras.Layer, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        if isinstance(layer, CONVOLUTIONS):
            own_rounding = None if layer.name in float_layers else rounding
            kernel = fit_kernel(layer, inputs[0], float_inputs[0], rounding=own_rounding)
            layer.kernel.assign(kernel)
        return call_in_chunks(layer, inputs)

    quantised = _quantised_outputs(fitted, float_layers)
    cut = _cut_ranges(reference, pixels)
    # In each pair the reference runs first, so `run_fitted` finds the layer's `float_inputs`.
    pairs = zip(
        outputs(reference, pixels, run_reference),
        outputs(fitted, pixels, run_fitted),
        strict=True,
    )
    for (_, expected), (layer, actual) in pairs:
        correct(layer, expected, actual)
        if layer.name in quantised:
            low, high = cut.get(layer.name) or _range(expected)
            _round_to_uint8(actual, low, high)
    return fitted


def _cut_ranges(reference: keras.Model, pixels: NDArray[np.float32]) -> Ranges:
    """The ranges of operands of sums with ReLU; none without such sums."""
    names = {name for layers_of, other in operands(reference) for name in (*layers_of, other)}
    if not names:
        return {}
    ranges = {
        layer.name: _range(values) for layer, values in outputs(reference, pixels, call_in_chunks)
    }
    cut = cut_sums(reference, ranges)
    return {name: cut[name] for name in names}


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The range of a tensor in int8, which contains 0."""
    return min(0.0, float(values.min())), float(values.max())


def _round_to_uint8(values: NDArray[np.float32], low: float, high: float) -> None:
    """Round values to the 256 steps between `low` and `high`, in place."""
    if high <= low:
        return
    step = (high - low) / 255
    zero = round(-low / step)
    values /= np.float32(step)
    np.rint(values, out=values)
    np.clip(values, -zero, 255 - zero, out=values)
    values *= np.float32(step)


def _quantised_outputs(model: keras.Model, float_layers: Collection[str]) -> set[str]:
    """Names of the layers whose output is a tensor of 8 bits in the file.

    Layers that are fused into a convolution have no tensor of their own. Tensors between two
    convolutions in float are not quantised.
    """
    readers_of = readers(model)
    names = set()
    for layer in model.layers:
        following = readers_of(layer)
        if isinstance(layer, layers.InputLayer | layers.Rescaling | layers.ZeroPadding2D):
            continue
        if not following or (len(following) == 1 and _fuses(layer, following[0])):
            continue
        if all(reader.name in float_layers for reader in following):
            source = layer
            while isinstance(source, layers.BatchNormalization) or _fuses_into_all(source):
                source = source.input._keras_history.operation
            if source.name in float_layers:
                continue
        names.add(layer.name)
    return names


def _fuses(layer: keras.Layer, following: keras.Layer) -> bool:
    """Whether `following`, the only reader of `layer`, is fused into the operator of `layer`."""
    if isinstance(layer, (*CONVOLUTIONS, layers.BatchNormalization)):
        return isinstance(following, layers.BatchNormalization) or _fuses_into_all(following)
    return isinstance(layer, layers.Add) and isinstance(following, layers.ReLU)


def _fuses_into_all(layer: keras.Layer) -> bool:
    """Whether `layer` is an activation that converters fuse or compute in steps of the file."""
    in_steps = (keras.activations.hard_swish, keras.activations.hard_sigmoid)
    return isinstance(layer, layers.ReLU) or (
        isinstance(layer, layers.Activation) and layer.activation in in_steps
    )
