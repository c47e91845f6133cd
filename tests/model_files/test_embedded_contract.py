import ast
import io
import json
import random
import zipfile
import zlib

import numpy as np
import pytest
from tiny_models import CLASSES, H, W, tiny_onnx, tiny_tflite

from unet_edge.errors import ModelFileError, SpecError
from unet_edge.model_files.embedded_contract import (
    Contract,
    load_model_bytes,
    parse_contract,
    read_contract,
    seal,
)
from unet_edge.model_files.onnx_properties import flat_properties
from unet_edge.spec import SCHEMA, ModelSpec
from unet_edge.system.files import sha256

SPEC = ModelSpec(H, W, ("Hintergrund", "Zelle ä", "细胞"), name="tiny")
FORMATS = ("tflite", "onnx")

# Digests of the released format, which files on people's devices have. A change needs a new schema.
RELEASED = {
    "tflite": "d6ab4f16b1269950571bc22c107c9d57953cce103ebb25bee809407e59333150",
    "onnx": "5c3bad24406215a0192162b5890aa284e559ace236b580f15d2ca1021c80d2ad",
}
FIRST_BYTES = {"tflite": b"\x1c\0\0\0TFL3\0\1\2\3\4\5\6\7", "onnx": b"\x08\x07"}


@pytest.fixture(scope="module")
def models():
    return {"tflite": tiny_tflite(), "onnx": tiny_onnx()}


@pytest.fixture(scope="module")
def sealed(models):
    return {name: seal(model, contract(name)) for name, model in models.items()}


def contract(file_format, precision="float32"):
    return Contract(SPEC, file_format, precision)


def named(file_format):
    return f"model.{file_format}"


def run(file_format, data):
    """The model's output for pixels 0, 1, 2 … in the interpreter of its format."""
    pixels = np.arange(H * W * CLASSES, dtype=np.uint8).reshape(1, H, W, CLASSES)
    if file_format == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return session.run(None, {"pixels": pixels})[0]
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def verdict(data, name):
    """How reading a file ends: "accepted", "refused", or the name of another exception."""
    try:
        parse_contract(bytes(data), name)
    except (ModelFileError, SpecError):
        return "refused"
    except BaseException as error:  # any other must never happen, including MemoryError
        return type(error).__name__
    return "accepted"


# --- seal and read ----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_contract_is_read_back_as_it_was_sealed(models, file_format, precision):
    expected = contract(file_format, precision)
    data = seal(models[file_format], expected)
    assert parse_contract(data, named(file_format)) == expected


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_contract_is_read_from_a_file(tmp_path, sealed, file_format):
    path = tmp_path / named(file_format)
    path.write_bytes(sealed[file_format])
    assert read_contract(path) == read_contract(str(path)) == contract(file_format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_model_comes_first_and_unchanged(models, sealed, file_format):
    assert sealed[file_format].startswith(models[file_format])


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_model_gives_the_same_file(models, sealed, file_format):
    assert seal(models[file_format], contract(file_format)) == sealed[file_format]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_sealed_model_computes_the_same(sealed, models, file_format):
    # (p - 128) / 128 is exact in float32.
    expected = (np.arange(H * W * CLASSES, dtype=np.float32) - 128) / 128
    assert np.array_equal(run(file_format, sealed[file_format]).ravel(), expected)
    assert np.array_equal(run(file_format, models[file_format]).ravel(), expected)


def test_any_zip_tool_reads_the_labels_and_the_contract_of_a_tflite_file(sealed):
    with zipfile.ZipFile(io.BytesIO(sealed["tflite"])) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "unet_edge.json"]
        # MediaPipe refuses files with a deflated entry.
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_STORED}
        labels = archive.read("labels.txt")
        fields = json.loads(archive.read("unet_edge.json"))
    assert labels.decode() == "Hintergrund\nZelle ä\n细胞\n"
    assert ModelSpec.from_dict(fields["spec"]) == SPEC
    assert (fields["format"], fields["precision"]) == ("tflite", "float32")


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_bytes_of_the_format_are_those_of_the_release(file_format):
    expected = Contract(ModelSpec(4, 6, ("a", "ä"), name="tiny"), file_format, "int8")
    data = seal(FIRST_BYTES[file_format], expected)
    assert sha256(data) == RELEASED[file_format]
    assert parse_contract(data, named(file_format)) == expected


def test_other_programs_read_flat_entries_of_an_onnx_file(models):
    onnx, onnxruntime = map(pytest.importorskip, ("onnx", "onnxruntime"))
    # Characters that mislead parsers: quotes, backslashes, braces, a control character, an emoji.
    classes = ("it's", 'a "b" \\', "{c}: d,\te 🐈")
    spec = ModelSpec(H, W, classes, name="tiny")
    data = seal(models["onnx"], Contract(spec, "onnx", "int8"))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    entries = onnx.load_from_string(data).metadata_props
    assert {entry.key: entry.value for entry in entries} == found
    assert len(entries) == len(found)
    # Read like Ultralytics' BaseBackend.apply_metadata.
    assert ast.literal_eval(found["names"]) == dict(enumerate(classes))
    assert ast.literal_eval(found["imgsz"]) == [H, W]
    assert [int(found[key]) for key in ("stride", "batch", "channels")] == [2, 1, 3]
    assert found["task"] == "semantic"
    assert found["description"] == "tiny: semantic segmentation by unet-edge"
    assert parse_contract(data, "m.onnx").spec == spec
    # Readers round no size, since each is a multiple of the stride, which divides 32.
    for size, stride in (((512, 512), 32), ((256, 208), 16), ((192, 100), 4), ((5, 7), 1)):
        assert flat_properties(ModelSpec(*size, ("a", "b")).to_dict())["stride"] == str(stride)


def test_the_onnx_library_reads_the_contract_of_an_onnx_file(sealed):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(sealed["onnx"])
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert set(properties) == {"author", "unet_edge", *flat_properties(SPEC.to_dict())}
    assert properties["author"] == "someone"
    fields = json.loads(properties["unet_edge"])
    assert ModelSpec.from_dict(fields["spec"]) == SPEC
    assert (fields["format"], fields["precision"]) == ("onnx", "float32")


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("flip", [0x01, 0x02, 0x20, 0x80, 0xFF], ids="{:#04x}".format)
def test_a_changed_byte_is_noticed_wherever_it_is(sealed, file_format, flip):
    # Also in the contract itself: 225 in place of 224 gives a wrong mask too.
    data = bytearray(sealed[file_format])
    found = {}
    for position in range(len(data)):
        data[position] ^= flip
        if (result := verdict(data, named(file_format))) != "refused":
            found[position] = result
        data[position] ^= flip
    assert not found, f"{len(found)} of {len(data)} bytes; the first: {list(found.items())[:8]}"


def test_other_labels_with_a_right_checksum_are_noticed(sealed):
    # Zip tools accept them, and MediaPipe would name the classes wrongly.
    labels, other = (
        "Hintergrund\nZelle ä\n细胞\n".encode(),
        "Hintergrund\nZelle ö\n细胞\n".encode(),
    )
    data = sealed["tflite"].replace(labels, other)
    old, new = (zlib.crc32(text).to_bytes(4, "little") for text in (labels, other))
    assert data.count(old) == 2
    data = data.replace(old, new)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    assert verdict(data, "model.tflite") == "refused"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_cut_file_is_noticed_wherever_it_ends(sealed, file_format):
    data = sealed[file_format]
    found = [n for n in range(len(data)) if verdict(data[:n], named(file_format)) != "refused"]
    assert not found


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "more", [b"\0", b"\n", bytes(100)], ids=lambda more: f"{len(more)} {more[:1]}"
)
def test_added_bytes_are_noticed(sealed, file_format, more):
    assert verdict(sealed[file_format] + more, named(file_format)) == "refused"
    assert verdict(more + sealed[file_format], named(file_format)) == "refused"


def test_a_field_added_to_an_onnx_file_is_noticed(sealed):
    # Protobuf merges repeated messages, so ONNX Runtime would run a changed graph.
    onnx = pytest.importorskip("onnx")
    more = onnx.ModelProto(graph=onnx.GraphProto(node=[onnx.helper.make_node("Neg", ["a"], ["b"])]))
    data = sealed["onnx"] + more.SerializeToString()
    assert len(onnx.load_from_string(data).graph.node) == 4
    assert verdict(data, "model.onnx") == "refused"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_contract_of_another_model_is_noticed(models, sealed, file_format):
    trailer = sealed[file_format][len(models[file_format]) :]
    other = bytearray(models[file_format])
    other[-1] ^= 1
    assert verdict(bytes(other) + trailer, named(file_format)) == "refused"


def test_a_contract_of_another_format_is_noticed(models):
    for file_format in FORMATS:
        (other,) = set(FORMATS) - {file_format}
        forged = Contract(SPEC, other, "float32")
        assert verdict(seal(models[file_format], forged), named(file_format)) == "refused"


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_message_names_the_file_and_the_fix(models, sealed, file_format):
    data = bytearray(sealed[file_format])
    data[len(models[file_format]) - 1] ^= 1
    with pytest.raises(
        ModelFileError, match=rf"model\.{file_format} is damaged: .*export it again"
    ):
        parse_contract(bytes(data), named(file_format))


# --- files that are not ours ------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_model_without_a_contract_is_not_ours(models, file_format):
    with pytest.raises(ModelFileError, match="carries no unet-edge contract"):
        parse_contract(models[file_format], named(file_format))


def test_a_tflite_file_with_other_files_in_it_is_not_ours(models):
    buffer = io.BytesIO(models["tflite"])
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("labels.txt", "a\nb\n")
    with pytest.raises(ModelFileError, match="carries no unet-edge contract"):
        parse_contract(buffer.getvalue(), "labels.tflite")


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\x08", b"\x08\x0a", b"PK\x05\x06" + bytes(18), b"hello, world", bytes(4096)],
    ids=repr,
)
@pytest.mark.parametrize("name", ["m.tflite", "m.onnx"])
def test_other_bytes_are_refused(data, name):
    with pytest.raises(ModelFileError, match=name):
        parse_contract(data, name)


def test_random_bytes_are_refused():
    random_bytes = random.Random(0).randbytes
    heads = (b"", b"\x08", b"\x1c\0\0\0TFL3", b"\x08\x0a\x72", b"\x08\x0a\x3a")
    for length in range(0, 400, 3):
        for head in heads:
            for name in ("m.tflite", "m.onnx"):
                assert verdict(head + random_bytes(length), name) == "refused"


@pytest.mark.parametrize(
    "entry",
    [
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # the key is the number 2**63 - 1
        b"\x08\x80\x80\x80\x80\x80\x40",  # 2**41: two terabytes, if taken as a length
        b"\x0a\x09unet_edge",  # no value
        b"\x0a\x09unet_edge\x10\x05",  # the value is a number
        b"\x0a\x09unet_edge\x12\x7f{}",  # the value is longer than the entry
    ],
    ids=["huge key", "large key", "no value", "number", "cut"],
)
def test_a_malformed_onnx_property_is_refused(entry):
    data = b"\x08\x0a" + b"\x72" + bytes([len(entry)]) + entry
    assert verdict(data, "m.onnx") == "refused"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"spec": 1}',
        *(
            json.dumps(
                {
                    "format": "onnx",
                    "precision": "float32",
                    "payload_sha256": "0" * 64,
                    "sha256": "0" * 64,
                    "payload_bytes": 3,
                    "spec": SPEC.to_dict(),
                    **change,
                }
            )
            for change in (
                {},
                {"payload_bytes": 3.5},
                {"payload_bytes": 1e300},
                {"payload_bytes": "3"},
                {"payload_bytes": None},
                {"payload_bytes": -1},
                {"precision": ["int8"]},
                {"precision": {}},
                {"format": None},
                {"spec": None},
            )
        ),
    ],
    ids=lambda text: text[:100].replace(" ", ""),
)
def test_a_malformed_contract_is_refused(text):
    assert verdict(tiny_onnx(unet_edge=text), "m.onnx") == "refused"


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_error_of_a_newer_schema_gives_the_upgrade_command(models, file_format, monkeypatch):
    newer = {**SPEC.to_dict(), "schema": SCHEMA + 1, "something": "new"}
    monkeypatch.setattr(ModelSpec, "to_dict", lambda _: newer)
    data = seal(models[file_format], contract(file_format))
    with pytest.raises(
        SpecError, match=rf"model\.\w+: .*schema {SCHEMA + 1}.*pip install --upgrade unet-edge"
    ):
        parse_contract(data, named(file_format))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelFileError, match=r"no such model file: .*absent\.onnx"):
        read_contract(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match="cannot read"):
        read_contract(tmp_path)
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"empty\.tflite is empty \(0 bytes\)"):
        load_model_bytes(tmp_path / "empty.tflite")


# --- files as they are exported ---------------------------------------------------------------


def spread(size, count):
    """The first 32 and the last 2,048 positions (the contract), and `count` between them."""
    between = np.linspace(0, size - 1, count).astype(int).tolist()
    return sorted({*range(min(32, size)), *range(max(0, size - 2048), size), *between})


@pytest.mark.slow
def test_exported_files_notice_every_changed_byte_and_every_cut(bundle_path):
    for path in sorted(p for p in bundle_path.iterdir() if p.suffix in (".tflite", ".onnx")):
        data = bytearray(path.read_bytes())
        assert verdict(data, path.name) == "accepted"
        for position in spread(len(data), 300)[:: max(1, len(data) // 4_000_000)]:
            data[position] ^= 0xFF
            assert verdict(data, path.name) == "refused", (path.name, position)
            data[position] ^= 0xFF
        for length in spread(len(data), 50)[::40]:
            assert verdict(data[:length], path.name) == "refused", (path.name, length)
