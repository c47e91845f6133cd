"""Prove rewrites of a foreign model: what it computes, in double precision, and what they make."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, tree
from numpy.typing import NDArray

from converters.foreign.flatten import Call, FlatModel, Value
from converters.foreign.steps import Step
from converters.foreign.translation import Translation
from converters.freeze import reason
from converters.layers import outputs
from unet_edge.errors import ConversionError

Array = NDArray[np.float64]

# In double precision, a rewrite differs from the original by its weights, which are rounded to
# float32 once (2**-24 of each), and by resizings, which TensorFlow computes in float32. 2**-18
# of the largest value leaves room for sums in which values cancel. A wrong border, order
# or constant changes values by more than 2**-10 of the largest.
_TOLERANCE = 2.0**-18


# Above this area in px, one picture has all three kinds of content: memory in double precision.
_LARGE = 160 * 160


def probe(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw pictures, uint8 (N, H, W, 3): noise; flat areas with black and white; gradients.

    These are three pictures, or one with three parts if they are large. No channel and no side is
    like another, so that exchanged ones show.
    """
    height, width = size
    random = np.random.default_rng(17)
    noise = random.integers(0, 256, (height, width, 3))
    cells = random.choice([0, 255, 60, 128, 200], (-(-height // 16), -(-width // 16), 3))
    blocks = cells.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    rows, columns = np.mgrid[:height, :width]
    down, along = 255 * rows / height, 255 * columns / width
    gradients = np.stack([down, along, 255 - down * along / 255], axis=-1)
    pictures = np.stack([noise, blocks, gradients]).astype(np.uint8)
    if height * width <= _LARGE:
        return pictures
    part = (3 * (rows + columns) // (height + width))[..., np.newaxis]
    return np.choose(part, list(pictures))[np.newaxis]


class Proof:
    """The foreign model in double precision, beside the steps that were made of it.

    `differences` has the largest difference of each kind of rewrite, and `names` its layers.
    `output` is the foreign model's result on `scaled`, its input; `logits` is the result before
    the last activation, if the last layer has one, else the same.
    """

    def __init__(
        self, flat: FlatModel, output: Value, translation: Translation, scaled: Array
    ) -> None:
        self.differences: dict[str, float] = {}
        self.names: dict[str, list[str]] = {}
        calls = flat.up_to(output)
        unread = Counter(value for call in calls for value in call.values)
        unread[output] += 1
        values: dict[Value, Any] = dict.fromkeys(flat.inputs.values(), scaled)
        last = flat.last_call(output)
        logits: Array | None = None
        for call in calls:
            try:
                result = _in_double(call, values)
            except Exception as error:  # whatever the foreign layer raises
                height, width = scaled.shape[1:3]
                raise ConversionError(
                    f"the layer {call.name!r} ({call.kind}) fails on pictures of "
                    f"{height}x{width} px: {reason(error)}",
                    fix="choose the --size that the model was trained with",
                ) from error
            values[call.results[0]] = result
            if call is last:
                logits = _before_activation(call, values)
            if call in translation.rewritten:
                self._compare(call, values, translation)
            for value in call.values:
                unread[value] -= 1
                if not unread[value]:
                    values.pop(value, None)
        self.output: Array = np.asarray(values[output])
        _require_numbers(self.output, "the model's scores")
        self.logits: Array = self.output if logits is None else logits

    def _compare(self, call: Call, values: dict[Value, Any], translation: Translation) -> None:
        known: dict[int, Any] = {}
        for value in call.values:
            step = translation.step(value)
            known[id(step)] = np.asarray(values[value]).reshape((-1, *step.shape))
        found = translation.sources[call.results[0]]
        assert isinstance(found, Step)
        right = np.asarray(values[call.results[0]])
        _require_numbers(right, f"the outputs of the layer {call.name!r}")
        made = np.asarray(_evaluate(found, known)).reshape(right.shape)
        what = translation.rewritten[call]
        self.names.setdefault(what, []).append(call.name)
        difference = check(made, right, f"{what}: {call.name}")
        self.differences[what] = max(difference, self.differences.get(what, 0.0))


def _require_numbers(values: Array, what: str) -> None:
    """Raise ConversionError for values of the foreign model that are NaN or infinite."""
    if not np.isfinite(values).all():
        raise ConversionError(
            f"{what} for test pictures are not numbers (NaN or infinite)",
            expected="expected trained weights",
            fix="check that the file is that of a training run that did not diverge",
        )


def check(made: NDArray[Any], right: NDArray[Any], what: str, *, rounding: float = 0.0) -> float:
    """The largest difference of a rewrite; `rounding` is what float32 explains of it.

    Raises ConversionError if it is larger than rounding explains.
    """
    if made.shape != right.shape:
        raise ConversionError(f"a rewrite changed the shape {right.shape} to {made.shape}: {what}")
    difference = float(np.abs(made - right).max())
    allowed = _TOLERANCE * float(np.abs(right).max()) + rounding
    if not difference <= allowed:  # NaN is not
        raise ConversionError(
            f"a rewrite changed the model's values by {difference:.3g}: {what}",
            expected=f"expected at most {allowed:.3g}, which rounding explains",
            fix="this is a defect of unet-edge; report it with the model's summary",
        )
    return difference


def run(model: keras.Model, pixels: NDArray[Any]) -> NDArray[Any]:
    """The result of a flat model on pictures, in inference."""
    # Each output is released after its last reader, other than in a call of the model.
    last = deque(outputs(model, pixels.astype(model.inputs[0].dtype)), maxlen=1)
    _, result = last.pop()
    return keras.ops.convert_to_numpy(result)


def _in_double(call: Call, values: dict[Value, Any]) -> Any:
    """The result of a call of the foreign model in double precision."""
    args, kwargs = tree.map_structure(
        lambda leaf: values[leaf] if isinstance(leaf, Value) else leaf, (call.args, call.kwargs)
    )
    operation = call.operation
    if call.does_nothing:
        return args[0]
    if isinstance(operation, keras.Layer):
        if isinstance(operation, layers.Normalization):
            return _normalised(operation, args[0])
        return _twin(call)(*args)
    return operation(*args, **kwargs)


def _normalised(layer: layers.Normalization, values: Any) -> Any:
    """The result of a Normalization, whose twin would have no statistics."""
    mean, variance = (np.asarray(each, np.float64) for each in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return values * deviation + mean if layer.invert else (values - mean) / deviation


def _twin(call: Call, **changed: Any) -> keras.Layer:
    """A copy of a call's layer that computes in double precision, with the same weights."""
    layer = call.operation
    config = {**layer.get_config(), "dtype": "float64", **changed}
    # Random numbers would take longer than anything else here.
    zeros = {key: "zeros" for key in config if key.endswith("_initializer")}
    twin = type(layer).from_config({**config, **zeros})
    if layer.weights:
        twin.build(call.values[0].shape)
        twin.set_weights([np.asarray(weight, np.float64) for weight in layer.get_weights()])
    return twin


def _before_activation(call: Call, values: dict[Value, Any]) -> Array | None:
    """The result of a call without its softmax or sigmoid; None if it has none."""
    layer = call.operation
    inputs = [values[value] for value in call.values]
    if call.kind in ("Softmax", "Sigmoid"):
        return np.asarray(inputs[0])
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    if name not in ("softmax", "sigmoid"):
        return None
    if isinstance(layer, layers.Activation):
        return np.asarray(inputs[0])
    return np.asarray(_twin(call, activation="linear")(inputs[0]))


def _evaluate(step: Step, known: dict[int, Any]) -> Any:
    """The output of a step in double precision, from the outputs of steps that are known."""
    if id(step) not in known:
        inputs = [_evaluate(each, known) for each in step.inputs]
        layer = step.layer("step", "float64")
        if step.weights:
            layer.build(inputs[0].shape)
            layer.set_weights(step.weights)
        known[id(step)] = layer(inputs if len(inputs) > 1 else inputs[0])
    return known[id(step)]


def sentences(proof: Proof) -> Sequence[tuple[str, float]]:
    """A sentence and the largest difference of each kind of rewrite."""

    def text(what: str) -> str:
        names = proof.names[what]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{what}: {', '.join(names[:3])}{more}"

    return [(text(what), difference) for what, difference in proof.differences.items()]
