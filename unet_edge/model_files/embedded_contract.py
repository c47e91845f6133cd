"""The contract inside a model file: append it, read it, check the file against its digest.

A contract is a trailer behind the model's own bytes, in the standard place of each format:
- TFLite: a ZIP archive appended to the flatbuffer, as TFLite Metadata keeps associated files
  (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata), stored uncompressed:
  `labels.txt`, the class names for MediaPipe, and `unet_edge.json`.
- ONNX: more `metadata_props` entries (ModelProto field 14), flat ones for other programs and one
  with the key `unet_edge`; protobuf allows a repeated field to be appended to a message.

The trailer holds the SHA-256 of the model's bytes and of the contract itself. It is checked before
anything is used: TFLite and ONNX runtimes run most files with flipped bits without an error, and a
contract with a wrong digit places pictures wrongly.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

from unet_edge.errors import ModelFileError, SpecError
from unet_edge.model_files.onnx_properties import flat_properties
from unet_edge.model_files.protobuf import read_fields, write_field
from unet_edge.model_files.stored_zip import read_entries, write_archive
from unet_edge.spec import ModelSpec
from unet_edge.system.files import read_regular, sha256

Format = Literal["tflite", "onnx"]
Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""The numbers that a file computes with. float16 has weights of 16 bits. dynamic has int8 weights,
and quantises activations while it runs. int8 has int8 in all layers or all but a few. int16x8 has
int8 weights and int16 activations."""

LABELS = "labels.txt"
"""The entry of a .tflite file with the class names, one in each line, UTF-8."""

_KEY = "unet_edge"
_ENTRY = "unet_edge.json"
_METADATA_PROPS = 14  # onnx.proto3, message ModelProto

# Limits of reading. Our files have at most 40 MB of model, 20 kB of contract and 20 fields.
_MOST_BYTES = 512 * 2**20
_MOST_CONTRACT = 2**20
_MOST_FIELDS = 10_000
# For files larger than _LARGE bytes, the last _END bytes are read first, to look for a contract.
_LARGE = 16 * 2**20
_END = 2 * _MOST_CONTRACT


@dataclass(frozen=True)
class Contract:
    """The contract that a model file carries, with its format and precision."""

    spec: ModelSpec
    format: Format
    precision: Precision


def seal(model: bytes, contract: Contract) -> bytes:
    """Append the contract to a model's bytes; the same input gives the same bytes."""
    fields = {
        "format": contract.format,
        "precision": contract.precision,
        "payload_bytes": len(model),
        "spec": contract.spec.to_dict(),
    }
    return model + _trailer(model, contract.format, fields)


def _trailer(model: bytes | memoryview, file_format: Format, fields: dict[str, Any]) -> bytes:
    """The bytes behind `model`: the fields, and a digest of the model and the fields."""
    text = _text({**fields, "sha256": sha256(model, _text(fields))})
    match file_format:
        case "tflite":
            labels = "".join(f"{name}\n" for name in fields["spec"]["classes"]).encode()
            return write_archive({LABELS: labels, _ENTRY: text}, offset=len(model))
        case "onnx":
            contract = _metadata_prop(_KEY, text)
            flat = (
                _metadata_prop(k, v.encode()) for k, v in flat_properties(fields["spec"]).items()
            )
            return b"".join(flat) + contract
        case _:
            assert_never(file_format)


def _metadata_prop(key: str, value: bytes) -> bytes:
    return write_field(_METADATA_PROPS, write_field(1, key.encode()) + write_field(2, value))


def _text(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, indent=1, ensure_ascii=False).encode()


def read_contract(path: str | Path) -> Contract:
    """Read the contract of a .tflite or .onnx file, and check that the file is unchanged.

    Raises ModelFileError when the file is missing, damaged, changed or without a contract, and
    SpecError when the contract has a newer schema.
    """
    return parse_contract(load_model_bytes(path), str(path))


_SUFFIXES = (".tflite", ".onnx", ".keras")


def load_model_bytes(path: str | Path) -> bytes:
    """Read a model file, in bounded time and memory.

    Raises ModelFileError when it is missing, empty, too large or not a regular file, and for a file
    of more than 16 MiB that does not end with a contract.
    """
    path = Path(path)
    try:
        if not _worth_reading(path):
            raise _foreign(str(path))
        data = read_regular(path, _MOST_BYTES)
    except FileNotFoundError:
        kind = "model file" if path.suffix in _SUFFIXES else "model file or folder"
        raise ModelFileError(f"no such {kind}: {path}") from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    if not data:
        raise ModelFileError(f"{path} is empty (0 bytes)", fix="copy or export it again")
    return data


def _worth_reading(path: Path) -> bool:
    """Whether a file is small or ends with a contract. Raises OSError when it is missing."""
    size = path.stat().st_size
    if not _LARGE < size <= _MOST_BYTES or not path.is_file() or path.suffix == ".keras":
        return True  # `read_regular` refuses what is too large or not a regular file
    with path.open("rb") as file:
        file.seek(size - _END)
        return _KEY.encode() in file.read(_END)


def parse_contract(data: bytes, name: str) -> Contract:
    """Read the contract from a file's bytes, as `read_contract` does; errors use `name`."""
    file_format = format_of(data, name)
    match file_format:
        case "tflite":
            text = _read_zip_entry(data, name)
        case "onnx":
            text = _read_metadata_prop(data, name)
        case _:
            assert_never(file_format)
    try:
        fields: dict[str, Any] = json.loads(text)
        del fields["sha256"]
        size = fields["payload_bytes"]
        written_format, precision = fields["format"], fields["precision"]
        spec = fields["spec"]
        view = memoryview(data)  # its slices are not copies
        # Written again and compared: this checks the digest and every byte around it.
        intact = view[size:] == _trailer(view[:size], file_format, fields)
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise _damaged(name, f"its contract is unreadable ({error!r})") from error
    if not intact:
        raise _damaged(name, "its bytes are not those that were exported (SHA-256 differs)")
    if written_format != file_format or precision not in get_args(Precision):
        raise _damaged(name, f"its contract is of a {precision} {written_format} file")
    try:
        return Contract(ModelSpec.from_dict(spec), file_format, precision)
    except SpecError as error:
        raise SpecError(
            error.found, expected=error.expected, fix=error.fix, subject=f"{name}:"
        ) from error


def format_of(data: bytes, name: str) -> Format:
    """Tell the format by the first bytes. Raises ModelFileError for any other format."""
    if data[4:8] == b"TFL3":  # the flatbuffer's file identifier
        return "tflite"
    # A serialised ONNX ModelProto starts with field 1, ir_version, a varint.
    if data[:1] == b"\x08" and not name.endswith(".tflite"):
        return "onnx"
    if data[:4] in (b"\x89HDF", b"PK\3\4"):  # .h5, .keras
        raise ModelFileError(
            f"{name} looks like a Keras model",
            expected="it must be a .tflite or .onnx file of 'unet-edge export'",
            fix="give the folder of a run that 'unet-edge train' made, which holds its Keras model",
        )
    raise ModelFileError(
        f"{name} is neither a TFLite nor an ONNX model, or its first bytes are damaged",
        fix="copy or export it again",
    )


def _damaged(name: str, reason: str) -> ModelFileError:
    return ModelFileError(f"{name} is damaged: {reason}", fix="copy or export it again")


def _foreign(name: str) -> ModelFileError:
    return ModelFileError(
        f"{name} carries no unet-edge contract: it was not written by 'unet-edge export', "
        "or it is cut off"
    )


def _read_zip_entry(data: bytes, name: str) -> bytes:
    """Read the contract's bytes from the archive at the end of a .tflite file."""
    try:
        entries = read_entries(data, _ENTRY, _MOST_CONTRACT)
    except (ValueError, struct.error) as error:
        raise _damaged(name, f"its contract is unreadable ({error})") from error
    if entries is None and _ENTRY.encode() in data:
        raise _damaged(name, "its contract is unreadable (the ZIP at its end is malformed)")
    if not entries:
        raise _foreign(name)
    if len(entries) > 1:
        raise _damaged(name, f"its ZIP has {len(entries)} entries called {_ENTRY}")
    return entries[0]


def _read_metadata_prop(data: bytes, name: str) -> bytes:
    """Read the contract's bytes from the `metadata_props` of an .onnx file."""
    contracts: list[memoryview] = []
    try:
        for number, value in read_fields(memoryview(data), _MOST_FIELDS):
            if number == _METADATA_PROPS and isinstance(value, memoryview):
                entry = dict(read_fields(value, _MOST_FIELDS))
                # Compared as views: a huge number as key must not become that many bytes.
                if entry.get(1) == memoryview(_KEY.encode()):
                    contracts.append(memoryview(entry[2]))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise _damaged(name, f"it does not parse as ONNX ({error})") from error
    if not contracts:
        raise _foreign(name)
    if len(contracts) > 1:
        raise _damaged(name, f"it has {len(contracts)} entries called {_KEY}")
    if len(contracts[0]) > _MOST_CONTRACT:
        raise _damaged(name, f"its contract has {len(contracts[0]):,} bytes")
    return bytes(contracts[0])
