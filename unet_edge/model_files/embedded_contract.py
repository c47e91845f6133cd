"""The contract inside a model file: append it, read it, check the file against its digest.

A contract is a trailer behind the model's own bytes, in each format's standard place:
- TFLite: a ZIP archive appended to the flatbuffer, as TFLite Metadata keeps associated files
  (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata), stored uncompressed:
  `labels.txt`, the class names for MediaPipe, and `unet_edge.json`.
- ONNX: more `metadata_props` entries (ModelProto field 14), flat ones for other programs and one
  with the key `unet_edge`; protobuf allows a repeated field to be appended to a message.

The trailer holds the SHA-256 of the model's bytes in front of it and of the contract itself:
TFLite and ONNX runtimes load and run most files with flipped bytes without a word, and a contract
with a flipped digit places pictures wrongly, so this is checked before anything is believed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

from unet_edge.errors import ModelFileError, SpecError
from unet_edge.model_files.onnx_properties import flat_properties
from unet_edge.model_files.protobuf import read_fields, write_field
from unet_edge.spec import ModelSpec
from unet_edge.system.files import read_regular, sha256

Format = Literal["tflite", "onnx"]
Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""What a file computes with: float32; float16, weights of 16 bits; dynamic, int8 weights with
activations quantised as they come; int8, all of it or all but a few layers; int16x8, int8 weights
and int16 activations."""

LABELS = "labels.txt"
"""The entry of a .tflite file that holds a class name in each line, UTF-8."""

_KEY = "unet_edge"
_ENTRY = "unet_edge.json"
_METADATA_PROPS = 14  # onnx.proto3, message ModelProto

# Bounds of what is read; ours have at most 40 MB of model, 20 kB of contract, 2 entries, 20 fields.
_MOST_BYTES = 512 * 2**20
_MOST_CONTRACT = 2**20
_MOST_ENTRIES = 16
_MOST_FIELDS = 10_000
# Of a larger file the end is read first: a contract is there, or the rest is not worth reading.
_LARGE = 16 * 2**20
_END = 2 * _MOST_CONTRACT


@dataclass(frozen=True)
class Contract:
    """What a model file says of itself."""

    spec: ModelSpec
    format: Format
    precision: Precision


def seal(model: bytes, contract: Contract) -> bytes:
    """Append the contract to a converter's output; the same input gives the same bytes."""
    fields = {
        "format": contract.format,
        "precision": contract.precision,
        "payload_bytes": len(model),
        "spec": contract.spec.to_dict(),
    }
    return model + _trailer(model, contract.format, fields)


def _trailer(model: bytes | memoryview, file_format: Format, fields: dict[str, Any]) -> bytes:
    """What follows `model`: the fields and a digest of the model and the fields."""
    text = _text({**fields, "sha256": sha256(model, _text(fields))})
    match file_format:
        case "tflite":
            labels = "".join(f"{name}\n" for name in fields["spec"]["classes"]).encode()
            return _zip_trailer({LABELS: labels, _ENTRY: text}, offset=len(model))
        case "onnx":
            contract = _prop(_KEY, text)
            flat = (_prop(k, v.encode()) for k, v in flat_properties(fields["spec"]).items())
            return b"".join(flat) + contract
        case _:
            assert_never(file_format)


def _prop(key: str, value: bytes) -> bytes:
    return write_field(_METADATA_PROPS, write_field(1, key.encode()) + write_field(2, value))


def _text(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, indent=1, ensure_ascii=False).encode()


def read_contract(path: str | Path) -> Contract:
    """The contract of a .tflite or .onnx file whose bytes are as they were exported.

    Raises ModelFileError when the file is missing, damaged, changed or carries no contract, and
    SpecError when the contract is of a newer schema.
    """
    return parse_contract(load_model_bytes(path), str(path))


def load_model_bytes(path: str | Path) -> bytes:
    """Read a model file, in bounded time and memory.

    Raises ModelFileError when it is missing, empty, too large or no regular file, and for a file
    of more than 16 MiB that does not end with a contract.
    """
    path = Path(path)
    try:
        if not _worth_reading(path):
            raise _foreign(str(path))
        data = read_regular(path, _MOST_BYTES)
    except FileNotFoundError:
        raise ModelFileError(f"no such model file: {path}") from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    if not data:
        raise ModelFileError(
            f"{path} is empty (0 bytes)",
            fix="copy or export it again",
        )
    return data


def _worth_reading(path: Path) -> bool:
    """Whether a file is small or ends with a contract. Raises OSError when it is missing."""
    size = path.stat().st_size
    if not _LARGE < size <= _MOST_BYTES or not path.is_file() or path.suffix == ".keras":
        return True  # `read_regular` judges what is too large or no regular file
    with path.open("rb") as file:
        file.seek(size - _END)
        return _KEY.encode() in file.read(_END)


def parse_contract(data: bytes, name: str) -> Contract:
    """As `read_contract`, from bytes; `name` is what errors call the file."""
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
        view = memoryview(data)  # slices of it are no copies
        # Written again and compared: the digest, and every byte of the wrapping around it.
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
        raise SpecError(f"{name}: {error}") from error


def format_of(data: bytes, name: str) -> Format:
    """The format by its first bytes; ModelFileError when it is neither."""
    if data[4:8] == b"TFL3":  # the flatbuffer's file identifier
        return "tflite"
    # A serialised ONNX ModelProto starts with field 1, ir_version, a varint.
    if data[:1] == b"\x08" and not name.endswith(".tflite"):
        return "onnx"
    if data[:4] in (b"\x89HDF", b"PK\3\4"):  # .h5, .keras
        raise ModelFileError(
            f"{name} looks like a Keras model, expected a .tflite or .onnx file of 'unet-edge "
            "export'. Keras models are read from a folder that 'unet-edge train' made, none from "
            "elsewhere"
        )
    raise ModelFileError(
        f"{name} is neither a TFLite nor an ONNX model",
        fix="if it should be, its first bytes are damaged: copy or export it again",
    )


def _damaged(name: str, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{name} is damaged: {reason}",
        fix="copy or export it again",
    )


def _foreign(name: str) -> ModelFileError:
    return ModelFileError(
        f"{name} carries no unet-edge contract: it was not written by 'unet-edge export', "
        "or it is truncated"
    )


def _zip_trailer(entries: dict[str, bytes], offset: int) -> bytes:
    """An archive of stored entries (PKWARE APPNOTE 4.3), the same on every system.

    Offsets count from the start of the whole file, as zip tools expect. Not by `zipfile`, whose
    headers depend on the system and may on the Python version.
    """
    january_1980 = 0x21
    made_by_unix, mode = 3 << 8 | 20, 0o644 << 16
    local = central = b""
    for entry, content in entries.items():
        name, size = entry.encode(), len(content)
        common = struct.pack(
            "<5H3I2H", 20, 0, 0, 0, january_1980, zlib.crc32(content), size, size, len(name), 0
        )
        central += (
            b"PK\1\2"
            + struct.pack("<H", made_by_unix)
            + common
            + struct.pack("<3H2I", 0, 0, 0, mode, offset + len(local))
            + name
        )
        local += b"PK\3\4" + common + name + content
    count = len(entries)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(central), offset + len(local), 0)
    return local + central + b"PK\5\6" + end


def _read_zip_entry(data: bytes, name: str) -> bytes:
    """The contract's bytes, by the archive's directory at the end of the file.

    Stored entries only: a deflated one of 0.6 MB may hold 4 GB. Not by `zipfile`, which unpacks
    every kind of entry and reads a directory of any length.
    """
    end = len(data) - 22
    count, size, position, comment = 0, 0, -1, 0
    if end > 0 and data[end : end + 4] == b"PK\5\6":
        count, size, position, comment = struct.unpack_from("<HIIH", data, end + 10)
    if position + size != end or comment or count > _MOST_ENTRIES:
        if _ENTRY.encode() in data:
            raise _damaged(name, "its contract is unreadable (the ZIP at its end is malformed)")
        raise _foreign(name)
    found = []
    try:
        for _ in range(count):
            entry, content, position = _zip_entry(data, position)
            if entry == _ENTRY.encode():
                found.append(content())
    except (ValueError, struct.error) as error:
        raise _damaged(name, f"its contract is unreadable ({error})") from error
    if not found:
        raise _foreign(name)
    if len(found) > 1:
        raise _damaged(name, f"its ZIP has {len(found)} entries called {_ENTRY}")
    return found[0]


def _zip_entry(data: bytes, position: int) -> tuple[bytes, Callable[[], bytes], int]:
    """An entry of a ZIP's directory: its name, what reads it, and where the next one begins.

    Raises ValueError or struct.error for what `_zip_trailer` does not write.
    """
    (signature, flags, method, _, packed, size, *lengths, start) = struct.unpack_from(
        "<4s4x2H4x3I3H8xI", data, position
    )
    if signature != b"PK\1\2":
        raise ValueError("its ZIP's directory is malformed")
    name = data[position + 46 : position + 46 + lengths[0]]

    def content() -> bytes:
        if flags or method or packed != size:
            raise ValueError("it is compressed, a stored entry was expected")
        if size > _MOST_CONTRACT:
            raise ValueError(f"it has {size:,} bytes, expected at most {_MOST_CONTRACT:,}")
        signature, *local = struct.unpack_from("<4s22x2H", data, start)
        first = start + 30 + sum(local)
        if signature != b"PK\3\4" or first + size > len(data):
            raise ValueError("its ZIP's entry is malformed")
        return data[first : first + size]

    return name, content, position + 46 + sum(lengths)


def _read_metadata_prop(data: bytes, name: str) -> bytes:
    """Walk the top-level fields of a ModelProto, skipping all but metadata_props."""
    found: list[memoryview] = []
    try:
        for number, value in read_fields(memoryview(data), _MOST_FIELDS):
            if number == _METADATA_PROPS and isinstance(value, memoryview):
                entry = dict(read_fields(value, _MOST_FIELDS))
                # Compared as views: a key that is a huge number must not become as many bytes.
                if entry.get(1) == memoryview(_KEY.encode()):
                    found.append(memoryview(entry[2]))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise _damaged(name, f"it does not parse as ONNX ({error})") from error
    if not found:
        raise _foreign(name)
    if len(found) > 1:
        raise _damaged(name, f"it has {len(found)} entries called {_KEY}")
    if len(found[0]) > _MOST_CONTRACT:
        raise _damaged(name, f"its contract has {len(found[0]):,} bytes")
    return bytes(found[0])
