"""Pretrained encoders: the weights that keras.applications publishes, downloaded or in a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, assert_never

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import WeightsError
from unet_edge.training.settings.network import Encoder

Weights = dict[str, list[NDArray[np.float32]]]


def encoder_weights(encoder: Encoder, alpha: float, source: str | Path) -> Weights:
    """Every layer's pretrained weights, by the layer's name, in Keras' order within it.

    `source` is "imagenet" (Keras downloads the published file) or a file: `.weights.h5` of
    Keras 3 or the legacy `.h5` that keras.applications publishes, with or without the
    classifier. Only weights are read from it, never a model (CVE-2025-9905).

    Raises WeightsError when the download fails, when the file is missing or unreadable, or when
    it does not hold every layer of this encoder in this width.
    """
    if str(source) == "imagenet":
        try:
            return _weights(_application(encoder, alpha, "imagenet"))
        except Exception as error:  # Keras raises a bare Exception when the download fails.
            raise WeightsError(
                f"the ImageNet weights could not be downloaded ({error})",
                fix=(
                    "pass a file with --encoder-weights FILE.weights.h5, or train "
                    "from scratch with --encoder-weights none"
                ),
            ) from error
    path = Path(source)
    if not path.is_file():
        raise WeightsError(f"no such weights file: {path}")
    donor = _application(encoder, alpha, None)
    try:
        if path.suffix == ".h5" and not path.name.endswith(".weights.h5"):
            found = _read_legacy(path, encoder)
        else:
            with warnings.catch_warnings():
                # Keras warns of each layer that does not fit, by the hundred, and then raises.
                warnings.simplefilter("ignore")
                donor.load_weights(str(path))
            found = _weights(donor)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path} does not hold {encoder} weights for alpha {alpha}: {reason}"
        ) from error
    wanted = _weights(donor)
    fitting = {
        name: found[name]
        for name, weights in wanted.items()
        if name in found and _shapes(found[name]) == _shapes(weights)
    }
    if len(fitting) < len(wanted):
        raise WeightsError(
            f"{path} does not hold {encoder} weights for alpha {alpha}: "
            f"{len(fitting)} of {len(wanted)} layers fit",
            fix="the file belongs to another encoder or another alpha",
        )
    return fitting


def _application(encoder: Encoder, alpha: float, weights: str | None) -> keras.Model:
    """The stand-alone network, without its classifier, that the published weights belong to."""
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


def _read_legacy(path: Path, encoder: Encoder) -> Weights:
    """Read the HDF5 layout of Keras 1 and 2. Raises OSError, KeyError or ValueError.

    Not by Keras: its reader by name passes over layers that do not fit, and its reader by
    position asks for no name.
    """
    found = {}
    with h5py.File(path, "r") as file:
        layers = file.get("model_weights", file)
        for name in _strings(layers.attrs["layer_names"]):
            group = layers[name]
            arrays = [np.asarray(group[weight]) for weight in _strings(group.attrs["weight_names"])]
            if encoder in ("mobilenet_v3_small", "mobilenet_v3_large"):
                # The published files are older than Keras 3, which forbids slashes in names:
                # "expanded_conv/squeeze_excite/Conv_1" is "expanded_conv_squeeze_excite_conv_1".
                name = name.replace("/BatchNorm", "_bn").replace("/", "_").lower()
            found[name] = arrays
    return found


def _strings(attribute: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in attribute]
