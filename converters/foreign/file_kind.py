"""What kind of model file this is, by its first bytes; without Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from converters.foreign.refusal import REBUILD, Refusal

FileKind = Literal["keras", "h5", "savedmodel"]
"""A `.keras` file, HDF5 with a complete model or with weights alone, a TensorFlow SavedModel."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SAVE = "save the model with model.save('model.keras') where it was trained, and import that"
_LARGEST = 4 * 2**30


def kind_of(path: Path) -> FileKind:
    """Tell the kind by the content. Raises Refusal."""
    try:
        if path.is_dir():
            return _kind_of_folder(path)
        if not path.is_file():
            raise Refusal("is not there" if not path.exists() else "is not a regular file")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise Refusal(f"cannot be read: {error.strerror or error}") from error
    if not size:
        raise Refusal("is empty (0 bytes)", "copy it again")
    if size > _LARGEST:
        raise Refusal(f"is not read: it has {size:,} bytes")
    if start.startswith(_HDF5):
        return "h5"
    if start.startswith(b"PK\3\4"):
        return _kind_of_archive(start)
    raise Refusal(*_other(start, path))


def _kind_of_folder(path: Path) -> FileKind:
    if (path / "saved_model.pb").is_file():
        return "savedmodel"
    if (path / "spec.json").is_file():
        raise Refusal("is a run of unet-edge already", f"run: unet-edge export {path}")
    if (path / "config.json").is_file():
        raise Refusal("is a folder", _SAVE)
    raise Refusal("is a folder without a model", "give a .keras or .h5 file")


def _kind_of_archive(start: bytes) -> FileKind:
    if b"data.pkl" in start or b"data/version" in start:
        raise Refusal(
            "is a PyTorch file: it holds pickled Python code, which is never run",
            "import takes Keras models: rebuild the network in Keras and copy the weights",
        )
    return "keras"


def _other(start: bytes, path: Path) -> tuple[str, str]:
    """Why a file of another kind is not read, and what to do."""
    if start[4:8] == b"TFL3":
        return (
            "is already a TFLite file",
            "import takes the Keras model that it was converted from: a .keras or .h5 file",
        )
    pickled = start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5"
    if pickled or path.suffix in (".pkl", ".pickle", ".joblib"):
        return "is a pickle: it holds Python code, which is never run", _SAVE
    if path.suffix == ".onnx" or start[:1] == b"\x08":
        return (
            "is already an ONNX file" if path.suffix == ".onnx" else "looks like an ONNX file",
            "import takes the Keras model that it was converted from: a .keras or .h5 file",
        )
    if path.suffix == ".pb":
        return "is a graph of TensorFlow", "give the folder of the SavedModel, or " + _SAVE
    if path.suffix in (".json", ".yaml", ".yml", ".py"):
        return "describes a model and holds no weights", REBUILD
    return "is not a Keras model, or its first bytes are damaged", "copy it again, or " + _SAVE
