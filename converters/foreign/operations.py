"""Operations without weights in a file's graph: those of keras.ops, and of TensorFlow by Keras 2.

The lists hold pure functions of tensors. Each is called by this module's own table, never by a name
of the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from converters.foreign.layer_rules import plain
from converters.foreign.refusal import REBUILD, Refusal

# Class of keras.src.ops -> function. A model has them where its program wrote `x + y`.
_KERAS_3: dict[str, Callable[..., Any]] = {
    "Absolute": ops.absolute,
    "Abs": ops.abs,
    "Add": ops.add,
    "Argmax": ops.argmax,
    "AveragePool": ops.average_pool,
    "Cast": ops.cast,
    "Clip": ops.clip,
    "Concatenate": ops.concatenate,
    "Divide": ops.divide,
    "Elu": ops.elu,
    "Exp": ops.exp,
    "ExpandDims": ops.expand_dims,
    "Gelu": ops.gelu,
    "GetItem": lambda x, key: x[key],
    "HardSigmoid": ops.hard_sigmoid,
    "HardSilu": ops.hard_silu,
    "LeakyRelu": ops.leaky_relu,
    "Log": ops.log,
    "LogSoftmax": ops.log_softmax,
    "Max": ops.max,
    "MaxPool": ops.max_pool,
    "Maximum": ops.maximum,
    "Mean": ops.mean,
    "Min": ops.min,
    "Minimum": ops.minimum,
    "Multiply": ops.multiply,
    "Negative": ops.negative,
    "Pad": ops.pad,
    "Power": ops.power,
    "Relu": ops.relu,
    "Relu6": ops.relu6,
    "Reshape": ops.reshape,
    "Resize": ops.image.resize,
    "Rsqrt": ops.rsqrt,
    "Selu": ops.selu,
    "Sigmoid": ops.sigmoid,
    "Silu": ops.silu,
    "Softmax": ops.softmax,
    "Softplus": ops.softplus,
    "Split": ops.split,
    "Sqrt": ops.sqrt,
    "Square": ops.square,
    "Squeeze": ops.squeeze,
    "Stack": ops.stack,
    "Subtract": ops.subtract,
    "Sum": ops.sum,
    "Tanh": ops.tanh,
    "Transpose": ops.transpose,
    "TrueDivide": ops.true_divide,
}


def _resize(
    images: Any,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:
    """Resize as tf.image does; tf.compat.v1.image places pixels elsewhere and is not translated."""
    if preserve_aspect_ratio:
        raise ValueError("resize with preserve_aspect_ratio")
    if method not in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        raise ValueError(f"resize by {method!r}")
    return ops.image.resize(images, size, interpolation=method, antialias=antialias)


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(input_tensor, axis=axis, keepdims=keepdims)

    return reduce


# TFOpLambda of Keras 2, by the function's name in TensorFlow; arguments named as there.
_TENSORFLOW: dict[str, Callable[..., Any]] = {
    "__operators__.add": lambda x, y: ops.add(x, y),
    "math.add": lambda x, y: ops.add(x, y),
    "math.subtract": lambda x, y: ops.subtract(x, y),
    "math.multiply": lambda x, y: ops.multiply(x, y),
    "math.truediv": lambda x, y: ops.true_divide(x, y),
    "math.divide": lambda x, y: ops.true_divide(x, y),
    "math.maximum": lambda x, y: ops.maximum(x, y),
    "math.minimum": lambda x, y: ops.minimum(x, y),
    "math.pow": lambda x, y: ops.power(x, y),
    "math.negative": lambda x: ops.negative(x),
    "math.square": lambda x: ops.square(x),
    "math.sqrt": lambda x: ops.sqrt(x),
    "math.exp": lambda x: ops.exp(x),
    "math.abs": lambda x: ops.absolute(x),
    "math.argmax": lambda input, axis=None, output_type=None: ops.argmax(input, axis),
    "math.sigmoid": lambda x: ops.sigmoid(x),
    "math.tanh": lambda x: ops.tanh(x),
    "math.reduce_mean": _reduce(ops.mean),
    "math.reduce_max": _reduce(ops.max),
    "math.reduce_sum": _reduce(ops.sum),
    "nn.relu": lambda features: ops.relu(features),
    "nn.relu6": lambda features: ops.relu6(features),
    "nn.elu": lambda features: ops.elu(features),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, axis=axis),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "nn.silu": lambda features: ops.silu(features),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(
        t, clip_value_min, clip_value_max
    ),
    "concat": lambda values, axis: ops.concatenate(values, axis=axis),
    "cast": lambda x, dtype: ops.cast(x, dtype),
    "expand_dims": lambda input, axis: ops.expand_dims(input, axis),
    "squeeze": lambda input, axis=None: ops.squeeze(input, axis),
    "transpose": lambda a, perm=None: ops.transpose(a, perm),
    "reshape": lambda tensor, shape: ops.reshape(tensor, shape),
    "image.resize": _resize,
}


def is_operation(kind: str, module: Any, config: dict[str, Any]) -> bool:
    """Whether an entry of a graph is an operation of keras.ops rather than a layer.

    An HDF5 file of Keras 3 gives no module; an operation then is known by its settings, which are
    not those of every layer.
    """
    if kind not in _KERAS_3:
        return False
    if module:
        return str(module).startswith("keras.src.ops.")
    return "trainable" not in config


def keras_operation(kind: str, config: dict[str, Any], where: str) -> Callable[..., Any]:
    """The function of an operation of keras.ops, with its settings. Raises Refusal."""
    function = _KERAS_3[kind]
    known = inspect.signature(function).parameters
    given = {
        key: plain(value, f"{key} of {where}")
        for key, value in config.items()
        if key in known and key not in ("name", "x", "x1", "x2")
    }
    unknown = [
        key
        for key, value in config.items()
        if key not in known and key not in ("name", "dtype", "trainable") and value is not None
    ]
    if unknown:
        raise Refusal(f"is not read: {where} has {unknown[0]!r}, which its operation has not")
    return lambda *args, **kwargs: function(*args, **{**given, **kwargs})


def tensorflow_operation(config: dict[str, Any], where: str) -> Callable[..., Any]:
    """The function of a TFOpLambda of Keras 2. Raises Refusal for one that is not translated."""
    name = config.get("function")
    if not isinstance(name, str) or name not in _TENSORFLOW:
        raise Refusal(
            f"is not read: {where} is tf.{str(name)[:80]}, an operation of TensorFlow that has no "
            f"translation",
            REBUILD,
        )
    function = _TENSORFLOW[name]

    def call(*args: Any, **kwargs: Any) -> keras.KerasTensor:
        # TensorFlow's `name` is a label; None is an argument that was not given.
        given = {k: v for k, v in kwargs.items() if k != "name" and v is not None}
        return function(*args, **given)

    return call
