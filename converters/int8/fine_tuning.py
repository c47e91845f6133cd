"""Quantisation-aware fine-tuning: weights that still make the model's masks after rounding.

A copy of the model learns from the model itself, not from labels: it computes as the int8 file
will, kernels and activations rounded, and the loss is the divergence of its class probabilities
from the float model's, which weighs a pixel by how near it is to another class. Rounding passes
gradients on unchanged (straight-through: Jacob et al. 2018, arXiv:1712.05877, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.freeze import as_float32, as_list, require_tensorflow
from converters.tflite.int8_scores import RANGE, centred
from unet_edge.errors import ConversionError
from unet_edge.system.progress import progress

RATES = (1e-3, 1e-4, 1e-5)
"""Adam's first learning rate, which falls to 0 by a cosine: the best of these in a short trial.

A model that int8 ruins must move far, one that it hardly touches must not: 300 steps at 1e-3, 1e-4
and 1e-5 took a toy model with a starved layer from 21.0 % flipped labels to 3.0, 7.0 and 16.6, and
the same model without it from 0.44 to 1.04, 0.44 and 0.41.
"""

_BATCH = 6
_CROP = 256  # px; no more than the network was judged on needs, and a tenth of 800's memory


def fine_tune(
    model: keras.Model,
    start: keras.Model,
    grids: Sequence[NDArray[np.uint8]],
    *,
    steps: int,
    seed: int = 0,
    float_layers: Collection[str] = (),
) -> keras.Model:
    """A copy of `start` that, in int8, comes closer to `model`; convert it, not `model`.

    `start` is `model` or `correct_channels` of it. `grids`: training pictures, uint8 (H, W, 3);
    `steps`: batches of six crops of at most 256 px; `float_layers`: convolutions whose kernels
    the file will not round. Moving statistics stay. Raises ConversionError without pictures or
    steps.
    """
    require_tensorflow(keras.backend.backend())
    if not len(grids) or steps < 1:
        raise ConversionError("fine-tuning needs pictures and at least one step")
    import tensorflow as tf

    teacher, source = centred(as_float32(model)), centred(as_float32(start))
    ranges = _ranges(source, grids)

    student = keras.models.clone_model(source)
    variables = list(student.trainable_variables)
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    unused = [keras.ops.convert_to_numpy(variable) for variable in optimizer.variables]

    @tf.function  # type: ignore[untyped-decorator]
    def step(pixels: Any) -> Any:
        wanted = tf.nn.log_softmax(teacher(pixels, training=False))
        with tf.GradientTape() as tape:
            found = tf.nn.log_softmax(_run(student, pixels, ranges, float_layers))
            loss = tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), -1))
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def train(rate: float, count: int, label: str) -> float:
        """Train from the start, on the same batches each time; mean loss of the last third."""
        student.set_weights(source.get_weights())
        for variable, value in zip(optimizer.variables, unused, strict=True):
            variable.assign(value)
        rng = np.random.default_rng(seed)
        losses = []
        for index in progress(range(count), label):
            optimizer.learning_rate.assign(rate * (1 + math.cos(math.pi * index / count)) / 2)
            losses.append(float(step(tf.constant(_batch(grids, rng)))))
        return float(np.mean(losses[-max(1, count // 3) :]))

    trial = min(steps, max(10, steps // 10))
    losses = {rate: train(rate, trial, f"trial at rate {rate:g}") for rate in RATES}
    # A rate that diverged has nan, which compares with nothing.
    best = min(RATES, key=lambda rate: losses[rate] if math.isfinite(losses[rate]) else math.inf)
    train(best, steps, f"fine-tuning at rate {best:g}")
    return student


def _batch(grids: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random crops of random pictures, half of them mirrored, float32 (N, H, W, 3)."""
    height, width = grids[0].shape[:2]
    rows, columns = min(height, _CROP), min(width, _CROP)
    crops = []
    for index in rng.integers(0, len(grids), _BATCH):
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        crop = grids[index][top : top + rows, left : left + columns]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops).astype(np.float32)


def _ranges(
    model: keras.Model, grids: Sequence[NDArray[np.uint8]]
) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor that the file rounds, by its layer's name."""
    found: dict[str, tuple[float, float]] = {}

    def watch(layer: keras.Layer, output: Any) -> Any:
        low, high = found.get(layer.name, (0.0, 0.0))  # int8 ranges hold 0
        values = keras.ops.convert_to_numpy(output)
        found[layer.name] = (min(low, float(values.min())), max(high, float(values.max())))
        return output

    for grid in grids[:16]:
        _walk(model, grid[np.newaxis].astype(np.float32), _plain, watch)
    scores = [layer.name for layer in model.layers if layer.name in ("logits_half", "logits")]
    if model.output.shape[-1] == 2:  # what `narrow` makes of two classes' scores
        found |= dict.fromkeys(scores, (-RANGE, RANGE))
    return found


def _run(
    model: keras.Model,
    pixels: Any,
    ranges: dict[str, tuple[float, float]],
    float_layers: Collection[str],
) -> Any:
    """The scores, computed as in int8."""
    import tensorflow as tf

    def rounded(layer: keras.Layer, output: Any) -> Any:
        low, high = ranges[layer.name]
        return (
            output
            if low == high
            else tf.quantization.fake_quant_with_min_max_args(output, low, high)
        )

    def run(layer: keras.Layer, inputs: list[Any]) -> Any:
        whole = layer.name in float_layers
        return _plain(layer, inputs) if whole else _with_rounded_kernel(layer, inputs)

    return _walk(model, pixels, run, rounded)


def _walk(model: keras.Model, pixels: Any, run: Any, store: Any) -> Any:
    """Pass `pixels` through all layers: `run(layer, inputs)`, then `store(layer, output)`.

    `store` is called where the file holds a tensor: not between a convolution, its BatchNorm and
    its ReLU, which become one operator.
    """
    consumers: dict[int, list[keras.Layer]] = {}
    for layer in model.layers:
        for tensor in as_list(getattr(layer, "input", [])):
            consumers.setdefault(id(tensor), []).append(layer)
    alive: dict[int, Any] = {id(model.inputs[0]): pixels}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        output = run(layer, [alive[id(tensor)] for tensor in as_list(layer.input)])
        after = consumers.get(id(layer.output), [])
        if not (len(after) == 1 and _fuses(layer, after[0])):
            output = store(layer, output)
        alive[id(layer.output)] = output
    return alive[id(model.outputs[0])]


def _fuses(layer: keras.Layer, following: keras.Layer) -> bool:
    convolution = layers.Conv2D | layers.DepthwiseConv2D
    if isinstance(following, layers.BatchNormalization):
        return isinstance(layer, convolution)
    if isinstance(following, layers.ReLU):
        return isinstance(layer, convolution | layers.BatchNormalization | layers.Add)
    return isinstance(layer, layers.ZeroPadding2D | layers.Dropout)


def _plain(layer: keras.Layer, inputs: list[Any]) -> Any:
    return layer(inputs if len(inputs) > 1 else inputs[0], training=False)


def _with_rounded_kernel(layer: keras.Layer, inputs: list[Any]) -> Any:
    if not isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        return _plain(layer, inputs)
    deep = isinstance(layer, layers.DepthwiseConv2D)
    convolve = keras.ops.depthwise_conv if deep else keras.ops.conv
    output = convolve(inputs[0], _rounded(layer.kernel, deep), layer.strides, layer.padding)
    return output if layer.bias is None else output + layer.bias


def _rounded(kernel: Any, deep: bool) -> Any:
    """The kernel in 8 bits, a scale for each output channel; gradients pass as if it were not."""
    import tensorflow as tf

    largest = tf.reduce_max(tf.abs(kernel), (0, 1, 3) if deep else (0, 1, 2), keepdims=True)
    unit = tf.stop_gradient(tf.maximum(largest, 1e-9) / 127)
    return kernel + tf.stop_gradient(tf.round(kernel / unit) * unit - kernel)
