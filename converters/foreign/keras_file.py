"""A `.keras` file: a ZIP archive of the configuration as JSON and the weights as HDF5."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras

from converters.foreign.bounded_json import MOST_BYTES, parse_json
from converters.foreign.graph import build_model
from converters.foreign.hdf5_content import read_hdf5
from converters.foreign.refusal import Refusal

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MOST_MEMBERS = 1000
_MOST_WEIGHTS = 4 * 2**30
# Keras stores members as they are; deflate halves weights at most, and JSON to a tenth.
_MOST_EXPANSION = 100


def read_keras_file(path: Path) -> keras.Model:
    """Read the model, not compiled. Raises Refusal."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {member.filename: member for member in archive.infolist()[:_MOST_MEMBERS]}
            config = parse_json(_member(archive, names, _CONFIG, MOST_BYTES), _CONFIG)
            metadata = parse_json(_member(archive, names, _METADATA, MOST_BYTES), _METADATA)
            weights = _member(archive, names, _WEIGHTS, _MOST_WEIGHTS)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: an encrypted member; NotImplementedError, its subclass: another compression.
        raise Refusal(f"is damaged: its ZIP archive cannot be read ({error})") from error
    keras_2 = str(metadata.get("keras_version", "3")).startswith("2")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _WEIGHTS
        file.write_bytes(weights)
        content = read_hdf5(file)
        model = build_model(config, content.count, keras_2=keras_2 or _by_keras_2(config))
        content.write(file)
        _load_weights(model, file)
    return model


def _by_keras_2(config: dict[str, Any]) -> bool:
    """Whether tf_keras wrote a configuration, whose version says nothing."""
    return str(config.get("module")).startswith("tf_keras")


def _member(
    archive: zipfile.ZipFile, names: dict[str, zipfile.ZipInfo], name: str, most: int
) -> bytes:
    """The bytes of a member. Raises Refusal, BadZipFile."""
    if name not in names:
        raise Refusal(
            f"is not a model of Keras 3: its ZIP archive has no {name}",
            "save the model with model.save('model.keras')",
        )
    member = names[name]
    if member.file_size > min(most, _MOST_EXPANSION * member.compress_size + 4096):
        raise Refusal(f"is not read: {name} in it unpacks to {member.file_size:,} bytes")
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)  # never more than is declared
    if len(data) != member.file_size:
        raise Refusal(f"is damaged: {name} in it is cut off")
    return data


def _load_weights(model: keras.Model, file: Path) -> None:
    """Load the weights of each layer; every one must be there. Raises Refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of weights that it skips
        try:
            model.load_weights(file)
        except Exception as error:  # any kind, by the layer that does not fit
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = next((line for line in lines[1:] if line), lines[0])
            raise Refusal(f"is damaged: its weights do not fit its layers: {reason}") from error
