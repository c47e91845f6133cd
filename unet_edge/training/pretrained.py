"""Pretrained encoder weights of keras.applications, downloaded or from a file."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, assert_never

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import WeightsError
from unet_edge.training.settings.network import Encoder
from unet_edge.training.weights_file import require_weights_file

Weights = dict[str, list[NDArray[np.float32]]]


def encoder_weights(encoder: Encoder, alpha: float, source: str | Path) -> Weights:
    """Read the pretrained weights of each layer, by the layer's name, in Keras' order.

    `source` is "imagenet" (Keras downloads the published file) or an HDF5 file: the layout of
    Keras 3 (`.weights.h5`) or the legacy one of keras.applications (`.h5`), with or without the
    classifier. The content decides, not the name. Only weights are read from a file, never a model
    (CVE-2025-9905).

    Raises WeightsError if the download fails, if the file is missing or unreadable, or if it does
    not contain every layer of this encoder at this alpha.
    """
    if str(source) == "imagenet":
        try:
            return _weights(_application(encoder, alpha, "imagenet"))
        except Exception as error:  # Keras raises a bare Exception if the download fails.
            raise WeightsError(
                f"the ImageNet weights could not be downloaded ({error})",
                fix=(
                    "download that file elsewhere and pass it with --encoder-weights FILE.h5, or "
                    "train from scratch with --encoder-weights none"
                ),
            ) from error
    path = Path(source)
    require_weights_file(path)
    model = _application(encoder, alpha, None)
    try:
        stored = _read_legacy(path, encoder)
        if stored is None:
            _load_keras_3(model, path)
            stored = _weights(model)
    except (OSError, ValueError, KeyError) as error:
        raise _unsuitable(path, encoder, alpha, str(error).strip().splitlines()[0]) from error
    wanted = _weights(model)
    fitting = {
        name: stored[name]
        for name, weights in wanted.items()
        if name in stored and _shapes(stored[name]) == _shapes(weights)
    }
    if len(fitting) < len(wanted):
        reason = f"{len(fitting)} of {len(wanted)} layers fit"
        raise _unsuitable(path, encoder, alpha, reason)
    return fitting


def _unsuitable(path: Path, encoder: Encoder, alpha: float, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} does not contain {encoder} weights for alpha {alpha}: {reason}",
        fix="pass --encoder and --alpha of the file, or another file with --encoder-weights",
    )


def _application(encoder: Encoder, alpha: float, weights: str | None) -> keras.Model:
    """The network of the published weights, without its classifier."""
    options: dict[str, Any] = {
        "input_shape": (224, 224, 3),
        "alpha": alpha,
        "include_top": False,
        "weights": weights,
    }
    match encoder:
        case "mobilenet_v1":
            return keras.applications.MobileNet(**options)
        case "mobilenet_v2":
            return keras.applications.MobileNetV2(**options)
        case "mobilenet_v3_small":
            return keras.applications.MobileNetV3Small(**options)
        case "mobilenet_v3_large":
            return keras.applications.MobileNetV3Large(**options)
        case _:
            assert_never(encoder)


def _weights(model: keras.Model) -> Weights:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _shapes(weights: list[NDArray[np.float32]]) -> list[tuple[int, ...]]:
    return [array.shape for array in weights]


def _load_keras_3(model: keras.Model, path: Path) -> None:
    """Load the layout of Keras 3. Raises OSError, KeyError or ValueError."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Keras chooses the layout by the name.
        named = Path(folder) / "encoder.weights.h5"
        named.symlink_to(path.resolve())
        # Keras warns of each layer that does not fit, before it raises.
        warnings.simplefilter("ignore")
        model.load_weights(str(named))


def _read_legacy(path: Path, encoder: Encoder) -> Weights | None:
    """Read the layout of Keras 1 and 2; None for a file of another layout.

    Raises OSError, KeyError or ValueError.
    """
    # Keras' own reader by name skips layers that do not fit; the one by position checks no name.
    weights = {}
    with h5py.File(path, "r") as file:
        layers = file.get("model_weights", file)
        if "layer_names" not in layers.attrs:
            return None
        for name in _strings(layers.attrs["layer_names"]):
            group = layers[name]
            arrays = [np.asarray(group[key]) for key in _strings(group.attrs["weight_names"])]
            if encoder in ("mobilenet_v3_small", "mobilenet_v3_large"):
                # The published files are older than Keras 3, which forbids slashes in names:
                # "expanded_conv/squeeze_excite/Conv_1" is "expanded_conv_squeeze_excite_conv_1".
                name = name.replace("/BatchNorm", "_bn").replace("/", "_").lower()
            weights[name] = arrays
    return weights


def _strings(attribute: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in attribute]
