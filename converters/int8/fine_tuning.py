"""Quantisation-aware fine-tuning: train weights that keep the model's masks after rounding.

A copy of the model computes as the int8 file will, with rounded kernels and activations. It learns
from the float model, not from labels: the loss is the divergence between their class
probabilities, in which pixels close to another class count more. Gradients pass rounding unchanged
(straight-through: Jacob et al. 2018, arXiv:1712.05877, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_float32, require_tensorflow
from converters.int8.sums import cut_sums
from converters.layers import CONVOLUTIONS, Run, call, convolve, kernel_axes, outputs, readers
from converters.score_layers import score_layers
from converters.tflite.int8_scores import centred, score_range
from unet_edge.errors import ConversionError
from unet_edge.system.progress import progress

RATES = (1e-3, 1e-4, 1e-5)
"""Adam's first learning rates to choose from in a short trial; a cosine lowers each to 0.

A model that int8 ruins needs a high rate, a model that is nearly right a low one. See
docs/decisions/034-int8-search.md.
"""

_BATCH = 6
_CROP = 256  # px; enough context for the network, in a tenth of the memory of 800 px


def fine_tune(
    model: keras.Model,
    start: keras.Model,
    grids: Sequence[NDArray[np.uint8]],
    *,
    steps: int,
    seed: int = 0,
    float_layers: Collection[str] = (),
) -> keras.Model:
    """A copy of `start` to convert to int8, whose file agrees better with `model`.

    `start` is `model` or `correct_channels` of it. `grids`: training pictures, uint8 (H, W, 3).
    `steps`: batches of six crops of at most 256 px; a model that takes one size only gets pictures
    of that size, of as many pixels in all. `float_layers`: convolutions whose kernels the file
    leaves in float32. BatchNorm's moving statistics stay. Raises ConversionError without pictures
    or steps.
    """
    require_tensorflow(keras.backend.backend())
    if not len(grids) or steps < 1:
        raise ConversionError(
            f"there are {len(grids)} pictures and {steps} steps",
            expected="fine-tuning needs pictures and at least one step",
        )
    import tensorflow as tf

    teacher, source = centred(as_float32(model)), centred(as_float32(start))
    crop = _crop_size(model, grids[0].shape[:2])
    ranges = _ranges(source, grids)

    student = keras.models.clone_model(source)
    variables = list(student.trainable_variables)
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    fresh = [keras.ops.convert_to_numpy(variable) for variable in optimizer.variables]
    run = _as_in_int8(student, ranges, float_layers)

    @tf.function  # type: ignore[untyped-decorator]
    def step(pixels: Any) -> Any:
        expected = tf.nn.log_softmax(teacher(pixels, training=False))
        with tf.GradientTape() as tape:
            actual = tf.nn.log_softmax(_scores(student, pixels, run))
            loss = tf.reduce_mean(tf.reduce_sum(tf.exp(expected) * (expected - actual), -1))
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def train(rate: float, count: int, label: str) -> float:
        """Train from `source`, always on the same batches; returns the last third's mean loss."""
        student.set_weights(source.get_weights())
        for variable, value in zip(optimizer.variables, fresh, strict=True):
            variable.assign(value)
        rng = np.random.default_rng(seed)
        losses = []
        for index in progress(range(count), label):
            optimizer.learning_rate.assign(rate * (1 + math.cos(math.pi * index / count)) / 2)
            losses.append(float(step(tf.constant(_batch(grids, rng, crop)))))
        return float(np.mean(losses[-max(1, count // 3) :]))

    trial = min(steps, max(10, steps // 10))
    losses = {rate: train(rate, trial, f"trial at rate {rate:g}") for rate in RATES}
    # A rate that diverged has the loss nan, which must not be chosen.
    best = min(RATES, key=lambda rate: losses[rate] if math.isfinite(losses[rate]) else math.inf)
    train(best, steps, f"fine-tuning at rate {best:g}")
    return student


def _crop_size(model: keras.Model, size: tuple[int, int]) -> tuple[int, int]:
    """The height and width of a crop of pictures of `size` that `model` takes."""
    # A model of a fixed size has layers that only take their own size, such as Resizing.
    rows, columns = model.input.shape[1:3]
    return rows or min(_CROP, size[0]), columns or min(_CROP, size[1])


def _batch(
    grids: Sequence[NDArray[np.uint8]], rng: np.random.Generator, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Random crops of random pictures, half of them mirrored, float32 (N, H, W, 3)."""
    height, width = grids[0].shape[:2]
    rows, columns = size
    count = max(1, min(_BATCH, _BATCH * _CROP * _CROP // (rows * columns)))  # to limit memory
    crops = []
    for index in rng.integers(0, len(grids), count):
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        crop = grids[index][top : top + rows, left : left + columns]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops).astype(np.float32)


def _ranges(
    model: keras.Model, grids: Sequence[NDArray[np.uint8]]
) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor that the file rounds, by its layer's name."""
    ranges = dict.fromkeys(_rounded_outputs(model), (0.0, 0.0))  # int8 ranges include 0
    for grid in grids[:16]:
        for layer, output in outputs(model, grid[np.newaxis].astype(np.float32)):
            if layer.name in ranges:
                low, high = ranges[layer.name]
                values = keras.ops.convert_to_numpy(output)
                ranges[layer.name] = min(low, float(values.min())), max(high, float(values.max()))
    ranges = cut_sums(model, ranges)
    if model.output.shape[-1] == 2:  # `narrow` cuts the scores of two classes to this range
        scores = [layer.name for layer in score_layers(model)]
        reach = score_range(model, grids)
        ranges |= dict.fromkeys(scores, (-reach, reach))
    return ranges


def _rounded_outputs(model: keras.Model) -> set[str]:
    """Names of the layers whose output is a tensor in the file.

    A convolution, its BatchNorm and its ReLU are one operator in the file, with one output.
    """
    readers_of = readers(model)
    names = set()
    for layer in model.layers:
        following = readers_of(layer)
        fused = len(following) == 1 and _fuses(layer, following[0])
        if not fused and not isinstance(layer, layers.InputLayer):
            names.add(layer.name)
    return names


def _fuses(layer: keras.Layer, following: keras.Layer) -> bool:
    if isinstance(following, layers.BatchNormalization):
        return isinstance(layer, CONVOLUTIONS)
    if isinstance(following, layers.ReLU):
        return isinstance(layer, (*CONVOLUTIONS, layers.BatchNormalization, layers.Add))
    return isinstance(layer, layers.ZeroPadding2D | layers.Dropout)


def _as_in_int8(
    model: keras.Model,
    ranges: dict[str, tuple[float, float]],
    float_layers: Collection[str],
) -> Run:
    """A function that computes a layer of `model` as the int8 file will."""
    import tensorflow as tf

    rounded_outputs = _rounded_outputs(model)

    def run(layer: keras.Layer, inputs: list[Any]) -> Any:
        rounds_kernel = isinstance(layer, CONVOLUTIONS) and layer.name not in float_layers
        if rounds_kernel:
            kernel = _rounded(layer.kernel, kernel_axes(layer))
            output = convolve(layer, inputs[0], kernel)
        else:
            output = call(layer, inputs)
        if layer.name not in rounded_outputs:
            return output
        low, high = ranges[layer.name]
        if low == high:
            return output
        return tf.quantization.fake_quant_with_min_max_args(output, low, high)

    return run


def _scores(model: keras.Model, pixels: Any, run: Run) -> Any:
    """The output of the last layer, computed layer by layer with `run`."""
    scores = None
    for _, scores in outputs(model, pixels, run):  # noqa: B007, the last output is the result
        pass
    return scores


def _rounded(kernel: Any, axes: tuple[int, ...]) -> Any:
    """The kernel in 8 bits, with a scale for each output channel; gradients pass unchanged.

    `axes`: of the weights of one output channel.
    """
    import tensorflow as tf

    largest = tf.reduce_max(tf.abs(kernel), axes, keepdims=True)
    unit = tf.stop_gradient(tf.maximum(largest, 1e-9) / 127)
    return kernel + tf.stop_gradient(tf.round(kernel / unit) * unit - kernel)
