"""Rewrite the end of a foreign model, so that it gives logits of the picture's size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.foreign.steps import Step, Steps
from unet_edge.errors import ConfigError, ConversionError

LOGITS = "logits"

# Steps that treat every channel alike: a channel of zeros stays zeros.
_CHANNELWISE = (layers.UpSampling2D, layers.Resizing, layers.Cropping2D, layers.ZeroPadding2D)

# Steps whose outputs lie between 0 and 1 if their inputs do.
_BETWEEN = (
    *_CHANNELWISE,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.Average,
    layers.Multiply,
    layers.Maximum,
    layers.Minimum,
)
_SCALINGS = (layers.DepthwiseConv2D, layers.Add, layers.Subtract)


@dataclass
class Scores:
    """The last step, and what was rewritten: the sentences, and how to check them.

    With `background`, class 0 is where no channel is above `threshold`.
    """

    step: Step
    map_shape: tuple[int, ...]
    sentences: list[str] = field(default_factory=list)
    background: bool = False
    threshold: float = 0.0
    factor: int = 1

    def expected(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the rewritten model must give, from the foreign model's logits.

        These are maps (N, h, w, C) or rows of pixels (N, h * w, C).
        """
        logits = logits.reshape((-1, *self.map_shape))
        if self.background:
            above = logits - self.threshold
            logits = np.concatenate([np.zeros_like(above[..., :1]), above], axis=-1)
        if self.factor > 1:
            resize = layers.UpSampling2D(self.factor, interpolation="bilinear", dtype="float64")
            logits = keras.ops.convert_to_numpy(resize(logits))
        return logits


def rewrite_scores(steps: Steps, output: Step, *, classes: int) -> Scores:
    """Take off the last softmax or sigmoid, and give one logit for each pixel and class.

    Raises ConfigError if the number of channels does not fit `classes`, and ConversionError if
    the output is no map of the picture.
    """
    step, activation, shaped = without_activation(output)
    scores = Scores(step, step.shape)
    if shaped:
        scores.sentences.append("the last Reshape, which makes rows of a map, was taken off")
    if len(step.shape) != 3:
        raise ConversionError(
            f"the output has the shape {step.shape}",
            expected="expected (height, width, classes)",
            fix="name the last layer that gives a map with --output-name",
        )
    _match_classes(steps, scores, activation, classes)
    _match_size(steps, scores)
    return scores


def without_activation(output: Step) -> tuple[Step, str, bool]:
    """The step before the last softmax or sigmoid and before a reshape to rows of pixels."""
    step, activation, shaped = output, "linear", False
    while True:
        if step.kind is layers.Activation and activation == "linear":
            kind = step.config["activation"]
            if kind not in ("softmax", "sigmoid"):
                return step, activation, shaped
            step, activation = step.inputs[0], kind
        elif (
            step.kind is layers.Reshape
            and len(step.shape) == 2
            and step.inputs[0].shape[-1] == step.shape[-1]
        ):
            step, shaped = step.inputs[0], True
        else:
            return step, activation, shaped


def _match_classes(steps: Steps, scores: Scores, activation: str, classes: int) -> None:
    channels = scores.step.shape[-1]
    if activation == "linear" and (channels == 1 or classes == channels + 1):
        scores.threshold = _threshold(scores.step)
    half = activation == "sigmoid" or scores.threshold > 0
    independent = half or channels == 1
    if channels == 1 and activation == "softmax":
        raise ConversionError(
            "the output is a softmax over a single channel, which is 1 everywhere",
            expected="expected a sigmoid",
            fix="train the model with a sigmoid, or with two channels",
        )
    if independent and classes == channels + 1:
        _insert_background(steps, scores)
        sign = "the sigmoid is above 0.5" if half else "the output is above 0"
        scores.sentences.append(
            f"one channel became two logits, 0 and its own: class 1 is where {sign}"
            if channels == 1
            else f"{channels} sigmoids became logits behind one of 0: a pixel is class 0 where "
            "none is above 0.5, else the class of the largest"
        )
    elif channels != classes or channels == 1:
        right = f"{channels + 1}" if channels == 1 else f"{channels}"
        if half and channels > 1:
            right += f", or {channels + 1} with a background that no channel has"
        raise ConfigError(
            f"{classes} classes are named, and the model gives {channels} "
            f"channel{'s' * (channels > 1)}",
            expected=f"expected {right}",
            fix="name the classes in the order of the channels with --classes",
        )
    elif activation == "sigmoid":
        scores.sentences.append(
            f"{channels} sigmoids were taken off: a pixel is the class of the largest, also "
            "where none or several are above 0.5"
        )
    elif activation == "softmax":
        scores.sentences.append("the last softmax was taken off, which does not change the mask")


def _threshold(output: Step) -> float:
    """What a channel of class 1 is above: 0.5 for probabilities of a sigmoid, else 0.

    A sigmoid may be followed by a resizing. Raises ConversionError for one that is also scaled or
    added to something, after which nothing says what the threshold is.
    """
    if _probabilities(output):
        return 0.5
    step = output
    while step.inputs and (step.kind in _CHANNELWISE or step.kind in _SCALINGS):
        for source in step.inputs:
            if _probabilities(source):
                raise ConversionError(
                    f"the scores are a sigmoid that the layer {step.name!r} changes",
                    expected="expected a sigmoid at the end",
                    fix="name the layer with the sigmoid, or the one in front of it, with "
                    "--output-name, if that gives the scores",
                )
        step = step.inputs[0]
    return 0.0


def _probabilities(step: Step) -> bool:
    """Whether a step gives the values of sigmoids, perhaps resized or joined."""
    if step.kind is layers.Activation:
        return step.config["activation"] in ("sigmoid", "hard_sigmoid")
    return step.kind in _BETWEEN and all(map(_probabilities, step.inputs))


def _insert_background(steps: Steps, scores: Scores) -> None:
    """Put a logit of 0 in front of the others: free if a convolution gives them."""
    scores.background = True
    above: list[Step] = []
    step = scores.step
    while step.kind in _CHANNELWISE and _only_reader(steps, step):
        above.append(step)
        step = step.inputs[0]
    kernels = (layers.Conv2D, layers.Conv2DTranspose)
    free = step.kind in kernels and not scores.threshold
    if free and _only_reader(steps, step) and step.config.get("groups", 1) == 1:
        # A kernel of Conv2D ends with (in, out), one of Conv2DTranspose with (out, in).
        axis = 3 if step.kind is layers.Conv2D else 2
        before = [(0, 0)] * 4
        before[axis] = (1, 0)
        step.weights[0] = np.pad(step.weights[0], before)
        if len(step.weights) > 1:
            step.weights[1] = np.pad(step.weights[1], (1, 0))
        step.config["filters"] += 1
        step.shape = (*step.shape[:-1], step.shape[-1] + 1)
        for each in above:
            each.shape = (*each.shape[:-1], each.shape[-1] + 1)
        return
    channels = scores.step.shape[-1]
    kernel = np.eye(channels + 1)[np.newaxis, np.newaxis, 1:]
    bias = [np.array([0.0] + [-scores.threshold] * channels)] if scores.threshold else []
    scores.step = steps.add(
        layers.Conv2D,
        LOGITS,
        [scores.step],
        [kernel, *bias],
        filters=channels + 1,
        kernel_size=1,
        use_bias=bool(bias),
    )


def _only_reader(steps: Steps, step: Step) -> bool:
    """Whether at most one step reads `step`."""
    return len(steps.readers(step)) <= 1


def _match_size(steps: Steps, scores: Scores) -> None:
    """Resize logits of a lower resolution to the picture's size."""
    height, width = steps.size
    h, w = scores.step.shape[:2]
    if (h, w) == (height, width):
        return
    factor = height // h
    # Cut borders give other factors, and the strides' own factor only by chance.
    whole = (h * factor, w * factor) == (height, width) and not factor & (factor - 1)
    if not whole or _stride(scores.step) != (factor, factor):
        raise ConversionError(
            f"the output of a picture of {height}x{width} px is {h}x{w} px",
            expected="expected the same size, or a half, a quarter and so on",
            fix="choose another --size; a model whose convolutions cut borders off (padding "
            "'valid') has to be trained with padding 'same'",
        )
    scores.factor = factor
    scores.step = steps.add(
        layers.UpSampling2D,
        LOGITS,
        [scores.step],
        size=(scores.factor, scores.factor),
        interpolation="bilinear",
    )
    scores.sentences.append(
        f"the output has 1/{scores.factor} of the resolution: a bilinear resizing to the "
        "picture's size was added"
    )


def _stride(step: Step) -> tuple[float, float]:
    """Pixels of the picture for one of a step's output, (rows, columns), if no border is cut."""
    rows = columns = 1.0
    while step.inputs:
        down, along = _own_stride(step)
        rows, columns = rows * down, columns * along
        step = max(step.inputs, key=lambda each: math.prod(each.shape[:2]))
    return rows, columns


def _own_stride(step: Step) -> tuple[float, float]:
    """By what a step divides the number of rows and of columns."""
    if step.kind is layers.Resizing:
        before, after = step.inputs[0].shape, step.shape
        return before[0] / after[0], before[1] / after[1]
    key = "size" if step.kind is layers.UpSampling2D else "strides"
    given = step.config.get(key) or step.config.get("pool_size", 1)
    rows, columns = (given, given) if isinstance(given, int) else given
    if step.kind in (layers.UpSampling2D, layers.Conv2DTranspose):
        return 1 / rows, 1 / columns
    return float(rows), float(columns)
