"""Which layers of a file are built, and with which of their settings.

A file names classes and functions; Keras would import some of them, and pass settings on unseen
(CVE-2025-1550, CVE-2025-9906, CVE-2025-12058). So nothing of a file is given to Keras'
deserialisation: only classes of the list below are built, and only from plain values.
"""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import keras

from converters.foreign.refusal import OPEN, REBUILD, Refusal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODELS = _words("Functional Model Sequential")

LAYERS = _words(
    """
    InputLayer Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose Dense
    BatchNormalization LayerNormalization GroupNormalization UnitNormalization Normalization
    Rescaling Resizing CenterCrop
    Activation ReLU LeakyReLU PReLU ELU Softmax
    Add Subtract Multiply Average Maximum Minimum Concatenate Dot
    MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D
    UpSampling2D ZeroPadding2D Cropping2D Reshape Permute Flatten RepeatVector Identity Dropout
    """
)

TRAINING_ONLY = _words(
    """
    SpatialDropout2D GaussianDropout GaussianNoise AlphaDropout ActivityRegularization
    RandomFlip RandomTranslation RandomRotation RandomZoom RandomContrast RandomBrightness
    RandomShear RandomColorJitter RandomGaussianBlur RandomSaturation RandomHue RandomSharpness
    """
)
"""Layers that change nothing outside training: each becomes a Dropout of rate 0."""

_ALIASES = {
    "Convolution2D": "Conv2D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "MaxPool2D": "MaxPooling2D",
    "AvgPool2D": "AveragePooling2D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "BatchNormalizationV1": "BatchNormalization",  # TensorFlow 1.13 to 2.0
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
}

_ACTIVATIONS = _words(
    """
    linear relu relu6 leaky_relu elu selu celu gelu silu swish hard_silu hard_swish mish sigmoid
    hard_sigmoid log_sigmoid tanh hard_tanh softmax log_softmax softplus softsign exponential
    squareplus sparse_plus sparse_sigmoid tanh_shrink
    """
)

_DTYPES = _words(
    "float16 bfloat16 float32 float64 mixed_float16 mixed_bfloat16 uint8 int8 int16 int32 int64"
)

# Settings of Keras 2, and of newer versions than the installed one, that change no output.
_WITHOUT_EFFECT = re.compile(
    ".*_(initializer|regularizer|constraint)|batch_input_shape|input_shape|input_dim|input_dtype"
    "|autocast|build_input_shape|seed|fused|adjustment|renorm_.*|implementation|lora_.*"
    "|quantization_config|synchronized|ragged|optional|trainable|noise_shape|autotune"
)
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope", ("Normalization", "invert"): "invert"}
_LONGEST = 100_000  # of the text and of the lists of a setting
_LARGEST = 2**31


def layer_class(name: str) -> str:
    """The name of a class in this version of Keras."""
    return _ALIASES.get(name, name)


def require_known(kind: str, module: Any, registered: Any, where: str) -> None:
    """Raise Refusal unless a layer is one of Keras that may be built."""
    if kind == "Lambda":
        raise Refusal(f"is not read: {where} is a Lambda, Python code that is never run", OPEN)
    root = str(module).partition(".")[0] if module else "keras"
    own = root in ("keras", "tf_keras", "tensorflow") and registered in (None, kind)
    if own and layer_class(kind) in LAYERS | TRAINING_ONLY | MODELS:
        return
    if kind in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        raise Refusal(
            f"is not read: {where} is a {kind}, an operation of TensorFlow outside Keras", REBUILD
        )
    if own and hasattr(keras.layers, kind):
        raise Refusal(
            f"is not read: {where} is of the class {kind}, which is not among the layers of image "
            "models that can be imported",
            REBUILD,
        )
    if own and str(module).startswith("keras.src.ops."):
        raise Refusal(
            f"is not read: {where} is the operation {kind}, which is not among those of image "
            "models that can be imported",
            REBUILD,
        )
    named = registered or (f"{module}.{kind}" if module and not own else kind)
    raise Refusal(
        f"is not read: {where} is of the class {str(named)[:80]!r}, which is not Keras' own: its "
        "code is not in the file, and none is run",
        OPEN,
    )


def settings(kind: str, config: dict[str, Any], where: str, keras_2: bool) -> dict[str, Any]:
    """The arguments with which a layer is built, without its name. Raises Refusal."""
    known = inspect.signature(getattr(keras.layers, kind).__init__).parameters
    found: dict[str, Any] = {}
    for key, value in config.items():
        key = _RENAMED.get((kind, key), key)
        if key == "name" or _WITHOUT_EFFECT.fullmatch(key):
            continue
        if key == "dtype":
            found[key] = dtype(value, where)
        elif key == "activation":
            found[key] = _activation(value, where, keras_2)
        elif key in known:
            found[key] = plain(value, f"{key} of {where}")
        elif not (value is None or value is False or (key, value) == ("groups", 1)):
            if kind in ("DepthwiseConv2D", "SeparableConv2D") and key == "groups":
                continue  # Keras 2 writes the number of channels there
            raise Refusal(
                f"is not read: {where} has {key!r}, a setting that Keras {keras.__version__} "
                "does not know",
                "install the version of Keras that saved the file, or a newer one",
            )
    axis = found.get("axis")
    if kind == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        found["axis"] = axis[0]  # Keras 2 writes [3]
    return found


def dtype(value: Any, where: str) -> str | None:
    """The name of a data type or policy. Raises Refusal for a quantised one."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = (inner.get("name") if isinstance(inner, dict) else None) or value
    if value is None or (isinstance(value, str) and value in _DTYPES):
        return value
    raise Refusal(
        f"is not read: {where} has the data type {str(value)[:80]!r}",
        "save the float model, before it is quantised: export rounds it to int8 with proof",
    )


def _activation(value: Any, where: str, keras_2: bool) -> str | keras.layers.Layer | None:
    if isinstance(value, dict) and value.get("class_name") in ("LeakyReLU", "ReLU", "PReLU", "ELU"):
        kind, config = value["class_name"], value.get("config")
        require_known(kind, value.get("module"), value.get("registered_name"), where)
        if kind != "PReLU" and isinstance(config, dict):  # PReLU has weights of its own
            layer = getattr(keras.layers, kind)
            return layer(**settings(kind, config, where, keras_2))
    if isinstance(value, dict):
        inner = value.get("config")
        module = str(value.get("module") or "builtins").partition(".")[0]
        builtin = module in ("builtins", "keras", "tf_keras")
        if value.get("class_name") == "Activation" and isinstance(inner, dict):
            inner = inner.get("activation")
        value = inner if builtin and isinstance(inner, str) else value
    if value is None:
        return None
    if not isinstance(value, str) or value not in _ACTIVATIONS:
        name = value.get("config", value) if isinstance(value, dict) else value
        raise Refusal(
            f"is not read: {where} has the activation {str(name)[:80]!r}, which is not one of "
            "Keras: its code is not in the file, and none is run",
            REBUILD,
        )
    if keras_2 and value == "hard_sigmoid":
        # Keras 2: clip(0.2 x + 0.5, 0, 1); Keras 3: relu6(x + 3) / 6.
        raise Refusal(
            f"is not read: {where} has the activation hard_sigmoid of Keras 2, which Keras 3 "
            "computes differently",
            REBUILD,
        )
    if not hasattr(keras.activations, value):
        raise Refusal(
            f"is not read: {where} has the activation {value!r}, which Keras "
            f"{keras.__version__} does not know",
            "run: pip install --upgrade keras",
        )
    return value


def plain(value: Any, what: str, depth: int = 0) -> Any:
    """A number, a text, None, or lists of them. Raises Refusal for anything else."""
    match value:
        case None | bool():
            return value
        case int() if abs(value) < _LARGEST:
            return value
        case float() if math.isfinite(value):
            return value
        case str() if len(value) < _LONGEST:
            return value
        case list() if len(value) < _LONGEST and depth < 5:
            return [plain(item, what, depth + 1) for item in value]
        case {"class_name": "__tuple__", "items": list() as items}:  # in a SavedModel of Keras 2
            return plain(items, what, depth + 1)
        case {"class_name": "__numpy__" | "__tensor__", "config": {"value": inner}}:
            return plain(inner, what, depth + 1)
        case {"type": "ndarray", "value": inner}:  # Keras 2.2
            return plain(inner, what, depth + 1)
    raise Refusal(f"is not read: {what} is {str(value)[:80]!r}, not a plain value", REBUILD)


def clean_name(name: Any) -> str:
    """A name that Keras 3 allows; Keras 2 also allowed slashes. Raises Refusal."""
    if not isinstance(name, str) or not 0 < len(name) < 1000:
        raise Refusal(f"is damaged: a layer has the name {str(name)[:80]!r}")
    return name.replace("/", "_")
