"""Hostile files are refused in bounded time and memory, whatever they claim to hold."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paths import SMALL_BUNDLE
from sealing import seal_manifest

from unet_edge import Segmenter
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.digest import DIGEST, digest_line
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.dataset.colors import read_labelmap
from unet_edge.dataset.lists import read_list
from unet_edge.dataset.pairs import Pairs
from unet_edge.dataset.shapes import read_object
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import (
    BundleError,
    ConfigError,
    ImageError,
    ModelFileError,
    OutputError,
    SpecError,
    UnetEdgeError,
)
from unet_edge.images.picture_file import opened
from unet_edge.model_files.embedded_contract import read_contract
from unet_edge.runtime.segmenter import read_spec
from unet_edge.runtime.tuning_cache import load_tuning
from unet_edge.system.files import read_regular, require_replaceable, sha256

HEAD = {"tflite": b"\x1c\0\0\0TFL3" + bytes(8), "onnx": b"\x08\x07"}
MIB = 2**20


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Assert that the block needs less than 10 s of processor time and 100 MiB."""
    clear = Path("/proc/self/clear_refs")
    try:
        clear.write_text("5")  # forget the peak so far
    except OSError:
        pytest.skip("peak memory cannot be measured here")
    before, start = _kib("VmRSS"), time.process_time()
    yield
    assert time.process_time() - start < 10
    assert _kib("VmHWM") - before < 100 * 1024


def _kib(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0])


def sparse(path: Path, size: int, head: bytes = b"", end: bytes = b"") -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
        file.seek(size - len(end))
        file.write(end)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


# What may be in the place of any file that is read.
NO_FILES: dict[str, Callable[[Path], None]] = {
    "a fifo": fifo,
    "an endless device": endless,
    "a terabyte of holes": lambda path: sparse(path, 10**12),
    "a folder": Path.mkdir,
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle"))


def replaced(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    NO_FILES[kind](path)


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["m.tflite", "m.onnx"])
def test_a_model_that_is_not_a_file(tmp_path: Path, name: str, kind: str) -> None:
    NO_FILES[kind](tmp_path / name)
    for read in (read_contract, Segmenter.open):
        with bounded(), pytest.raises(ModelFileError, match=r"cannot read|has neither"):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["model-int8.tflite", "golden/01.png", MANIFEST, DIGEST])
def test_a_member_of_a_bundle_that_is_not_a_file(bundle: Path, name: str, kind: str) -> None:
    replaced(bundle / name, kind)
    with bounded(), pytest.raises(BundleError):  # noqa: PT012
        opened_bundle = Bundle.open(bundle)
        opened_bundle.read(opened_bundle.file("model-int8.tflite"))
        opened_bundle.read_golden(opened_bundle.golden[0])
    with bounded(), contextlib.suppress(UnetEdgeError):
        Segmenter.open(bundle)


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_tuning_that_is_not_a_file_is_ignored_with_a_reason(bundle: Path, kind: str) -> None:
    NO_FILES[kind](bundle / "tuning.json")
    with bounded():
        found = load_tuning(Bundle.open(bundle))
        assert found is not None
        assert found.tuned is None
        assert str(found.stale).startswith("it cannot be read: it ")
    Segmenter.open(bundle)


@pytest.mark.parametrize("kind", NO_FILES)
def test_the_contract_of_a_run_that_is_not_a_file(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "spec.json")
    with bounded(), pytest.raises(SpecError, match=r"cannot read .*spec\.json: it "):
        read_spec(tmp_path / "spec.json")


def read_settings(path: Path) -> object:
    pytest.importorskip("keras", reason="no Keras, which settings of a training name")
    from unet_edge.training.config import load_settings

    return load_settings(path)


def read_measured(path: Path) -> object:
    from converters.card.latency import read_latency

    return read_latency(path)


def read_pictures(path: Path) -> object:
    return read_list(path, path.parent, Pairs())


# Files that a command line or a data set names.
NAMED: dict[str, Callable[[Path], object]] = {
    "config.toml": read_settings,
    "benchmark.json": read_measured,
    "split.json": SplitNames.read,
    "train.txt": read_pictures,
    "labelmap.txt": lambda path: read_labelmap(path, ("a", "b")),
    "annotations.json": read_object,
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", NAMED)
def test_a_named_file_that_is_not_a_file(tmp_path: Path, name: str, kind: str) -> None:
    with contextlib.suppress(UnetEdgeError):
        NAMED[name](tmp_path / name)  # loads modules, whose memory does not count
    NO_FILES[kind](tmp_path / name)
    with bounded(), pytest.raises(UnetEdgeError, match="cannot read ") as caught:
        NAMED[name](tmp_path / name)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    expected = {"a folder": "it is a folder", "a terabyte of holes": "expected at most"}
    assert expected.get(kind, "it is not a regular file; copy it into one") in message


def test_the_settings_of_a_run_that_are_not_a_file(tmp_path: Path) -> None:
    from unet_edge.cli.run_data import _read_config

    sparse(tmp_path / "config.toml", 10**12)
    with bounded(), pytest.raises(ConfigError, match=r"cannot read .*config\.toml: it has"):
        _read_config(tmp_path)


def test_a_file_of_a_terabyte_in_place_of_a_result(tmp_path: Path) -> None:
    sparse(tmp_path / "report.html", 10**12)
    with bounded(), pytest.raises(OutputError, match=r"cannot read .*report\.html: it has"):
        require_replaceable(tmp_path / "report.html", lambda data: True, "benchmark --html")


@pytest.mark.parametrize("kind", ["a fifo", "an endless device", "a terabyte of holes"])
def test_a_picture_that_is_not_a_file(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "a.png")
    with bounded(), pytest.raises(ImageError, match=r"cannot read .*a\.png: it "):  # noqa: SIM117
        with opened(tmp_path / "a.png"):
            pass


# --- models -----------------------------------------------------------------------------------


def zip_entry(
    name: bytes, content: bytes, method: int, size: int, start: int
) -> tuple[bytes, bytes]:
    """A local entry, and its entry in the directory."""
    common = struct.pack("<5H3I2H", 20, 0, method, 0, 33, 0, len(content), size, len(name), 0)
    central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<3H2I", 0, 0, 0, 0, start)
    return b"PK\3\4" + common + name + content, central + name


def with_zip(entries: list[tuple[bytes, bytes, int, int]]) -> bytes:
    local, central = b"", b""
    for name, content, method, size in entries:
        entry, directory_entry = zip_entry(
            name, content, method, size, len(HEAD["tflite"]) + len(local)
        )
        local += entry
        central += directory_entry
    start, count = len(HEAD["tflite"]) + len(local), len(entries)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(central), start, 0)
    return HEAD["tflite"] + local + central + b"PK\5\6" + end


def deflated_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    mib = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return mib * (size // MIB) + b"\x03\0"


def prop(key: bytes, value: bytes) -> bytes:
    def field(number: int, content: bytes) -> bytes:
        size, out = len(content), bytearray([number << 3 | 2])
        while size >= 0x80:
            out.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes(out) + bytes([size]) + content

    return field(14, field(1, key) + field(2, value))


NAME = b"unet_edge.json"
MODELS: dict[str, Callable[[], bytes]] = {
    "deflated.tflite": lambda: with_zip([(NAME, deflated_zeros(4080 * MIB), 8, 4080 * MIB)]),
    "bz2.tflite": lambda: with_zip([(NAME, bytes(600_000), 12, 2**32 - 1)]),
    "called stored.tflite": lambda: with_zip([(NAME, deflated_zeros(64 * MIB), 0, 64 * MIB)]),
    "large contract.tflite": lambda: with_zip([(NAME, bytes(8 * MIB), 0, 8 * MIB)]),
    "many entries.tflite": lambda: with_zip([(b"a", b"", 0, 0)] * 5000 + [(NAME, b"{}", 0, 2)]),
    "two contracts.tflite": lambda: with_zip([(NAME, b"{}", 0, 2)] * 2),
    "deep.tflite": lambda: with_zip([(NAME, b"[" * 900_000, 0, 900_000)]),
    "zeros.onnx": lambda: HEAD["onnx"] + bytes(100 * MIB),
    "few zeros.onnx": lambda: HEAD["onnx"] + bytes(15 * MIB),
    "tiny fields.onnx": lambda: b"\x08\x01" * (7 * MIB),
    "tiny fields and a key.onnx": lambda: b"\x08\x01" * (30 * MIB) + prop(b"unet_edge", b"{}"),
    "tiny properties.onnx": lambda: HEAD["onnx"] + prop(b"a", b"b") * MIB,
    "fields in a property.onnx": lambda: b"\x08\x07\x72\x80\x80\x80\x06" + b"\x08\x01" * (6 * MIB),
    "large contract.onnx": lambda: HEAD["onnx"] + prop(b"unet_edge", bytes(8 * MIB)),
    "two contracts.onnx": lambda: HEAD["onnx"] + prop(b"unet_edge", b"{}") * 2,
    "deep.onnx": lambda: HEAD["onnx"] + prop(b"unet_edge", b"[" * 900_000),
    "lists.onnx": lambda: HEAD["onnx"] + prop(b"unet_edge", b"[" + b"[]," * 340_000 + b"[]]"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_larger_than_it_looks(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(MODELS[name]())
    with (
        bounded(),
        pytest.raises(ModelFileError, match=r"is damaged: |carries no unet-edge contract"),
    ):
        read_contract(tmp_path / name)


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx"])
@pytest.mark.parametrize("end", [b"", b"unet_edge"], ids=["no contract", "a key"])
def test_a_model_of_holes(tmp_path: Path, name: str, end: bytes) -> None:
    sparse(tmp_path / name, 500 * MIB if not end else 20 * MIB, HEAD[name[2:]], end)
    with bounded(), pytest.raises(ModelFileError):
        read_contract(tmp_path / name)


# --- manifests --------------------------------------------------------------------------------


def old_manifest(text: bytes, other: bytes) -> bytes:
    return (SMALL_BUNDLE / MANIFEST).read_bytes().replace(text, other)


MANIFESTS: dict[str, Callable[[], bytes]] = {
    "too large": lambda: b"[" + b"0," * (20 * MIB) + b"0]",
    "deep": lambda: b"[" * 1_000_000,
    "lists": lambda: b"[" + b"[]," * 345_000 + b"[]]",
    "objects": lambda: b"[" + b"{}," * 345_000 + b"{}]",
    "a long number": lambda: b"9" * 1_000_000,
    "a long text": lambda: b'"' + b"a" * 1_000_000 + b'"',
    "many fields": lambda: json.dumps({str(n): 0 for n in range(80_000)}).encode(),
    "files": lambda: old_manifest(b'"files": [', b'"files": [' + b"0," * 450_000),
    "classes": lambda: old_manifest(b'"cell"', b'"a",' * 240_000 + b'"cell"'),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_larger_than_it_looks(bundle: Path, name: str) -> None:
    text = MANIFESTS[name]()
    (bundle / MANIFEST).write_bytes(text)
    (bundle / DIGEST).write_bytes(digest_line(sha256(text)))
    with bounded(), pytest.raises(BundleError) as error:
        Bundle.open(bundle)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_a_tuning_of_many_lists_is_ignored(bundle: Path) -> None:
    (bundle / "tuning.json").write_bytes(b"[" + b"[]," * 340_000 + b"[]]")
    with bounded():
        found = load_tuning(Bundle.open(bundle))
    assert found is not None
    assert found.tuned is None


def test_a_bundle_whose_digests_are_right_and_whose_model_is_sparse(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][0]["bytes"] = 10**12
    seal_manifest(bundle, manifest)
    sparse(bundle / "model-int8.tflite", 10**12, HEAD["tflite"])
    with bounded(), pytest.raises(BundleError, match=r"expected at most 536,870,912; copy the"):
        Segmenter.open(bundle, file="model-int8.tflite")


def test_a_regular_file_is_read_completely(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_regular(tmp_path / "a", 3) == read_regular(tmp_path / "a", 9, 3) == b"abc"
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b", 3) == b"abc"
    (tmp_path / "c").write_bytes(b"")
    assert read_regular(tmp_path / "c", 0) == b""
    for most, size in ((2, None), (9, 2), (9, 4)):
        with pytest.raises(OSError, match="it has 3 bytes, expected"):
            read_regular(tmp_path / "a", most, size)
