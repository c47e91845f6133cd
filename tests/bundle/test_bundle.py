import dataclasses
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from sealing import seal_manifest

from unet_edge.bundle.bundle import IMPROVE, Bundle
from unet_edge.bundle.bundle_file import FLOORS, BundleFile
from unet_edge.bundle.digest import DIGEST, digest_line
from unet_edge.bundle.manifest import (
    MANIFEST,
    SCHEMA,
    CardFile,
    Choice,
    DataCounts,
    GoldenPicture,
    Reference,
)
from unet_edge.bundle.writing import write_bundle
from unet_edge.errors import BundleError, UnetEdgeError
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.board import Processor, read_processor
from unet_edge.system.files import sha256

SPEC = ModelSpec(4, 6, ("background", "Zelle ä"), name="cells")
LABELS = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
MODELS = {"model-int8.tflite": b"int8 bytes", "model.onnx": b"onnx bytes"}
CARD = b"# cells"


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


GOLDEN = [
    (png(np.full((2, 3, 3), shade, np.uint8)), png(LABELS if shade else 1 - LABELS))
    for shade in (0, 200)
]


def entry(name, file_format="tflite", precision="int8", *, agreement=1.0, data=b""):
    return BundleFile(
        name=name,
        format=file_format,
        precision=precision,
        sha256=sha256(data),
        bytes=len(data),
        floor=FLOORS[file_format, precision],
        agreement=agreement,
        worst=0.5,
        mask_miou=0.9,
        label_miou=None,
        pictures=2,
        label_iou=(0.9, None),
        golden_agreement=agreement,
        float_layers=(),
        measured_by="onnxruntime 1.32.0",
    )


def bundle_at(path, **changes):
    names = [("golden/01.png", "golden/01.mask.png"), ("golden/02.png", "golden/02.mask.png")]
    fields = {
        "path": path,
        "spec": SPEC,
        "files": (
            entry("model-int8.tflite", data=MODELS["model-int8.tflite"]),
            entry("model.onnx", "onnx", "float32", data=MODELS["model.onnx"]),
        ),
        "golden": tuple(
            GoldenPicture(picture, mask, *map(sha256, data), Choice("near-ties", 0.25))
            for (picture, mask), data in zip(names, GOLDEN, strict=True)
        ),
        "reference": Reference("ab" * 32, 0.875, 2, (0.875, None), 0.5, "unet_mini", 12),
        "tools": {"keras": "3.15.1"},
        "data": DataCounts(8, 2, 4),
        "license": "CC BY 4.0",
        "card": (CardFile("README.md", sha256(CARD)),),
        "processor": read_processor(),
    }
    return Bundle(**fields | changes)


@pytest.fixture
def written(tmp_path):
    """A bundle on disk."""
    bundle = bundle_at(tmp_path / "bundle")
    write_bundle(bundle, MODELS, GOLDEN, [CARD])
    return bundle


def edit(bundle, change):
    """Change the manifest on disk."""
    data = json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))
    change(data)
    seal_manifest(bundle.path, data)


def snapshot(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


# --- write and open ---------------------------------------------------------------------------


def test_a_bundle_is_read_back_as_it_was_written(written):
    assert Bundle.open(written.path) == Bundle.open(str(written.path)) == written


def test_a_bundle_holds_the_files_of_its_manifest_and_no_others(written):
    assert {name for name, data in snapshot(written.path).items() if data is not None} == {
        MANIFEST,
        DIGEST,
        *written.members(),
    }


def test_its_files_are_read_with_their_digests_checked(written):
    bundle = Bundle.open(written.path)
    for name, data in MODELS.items():
        assert bundle.read(bundle.file(name)) == data
    for golden, (picture, _), shown in zip(
        bundle.golden, GOLDEN, (1 - LABELS, LABELS), strict=True
    ):
        found, labels = bundle.read_golden(golden)
        assert found == picture
        assert np.array_equal(labels, shown)


def test_a_bundle_can_be_moved(written, tmp_path):
    shutil.move(written.path, tmp_path / "elsewhere")
    moved = Bundle.open(tmp_path / "elsewhere")
    assert moved.read(moved.files[0]) == MODELS["model-int8.tflite"]


def test_an_old_bundle_is_replaced_as_a_whole(written):
    fewer = dataclasses.replace(written, files=written.files[:1], golden=(), card=())
    write_bundle(fewer, {"model-int8.tflite": MODELS["model-int8.tflite"]}, [])
    assert sorted(snapshot(written.path)) == [MANIFEST, DIGEST, "model-int8.tflite"]
    assert [p.name for p in written.path.parent.iterdir()] == ["bundle"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "bundle").mkdir()
    write_bundle(bundle_at(tmp_path / "bundle"), MODELS, GOLDEN, [CARD])
    Bundle.open(tmp_path / "bundle")


@pytest.mark.parametrize(
    "content",
    [
        {"photo.jpg": b"mine"},
        {"bundle.json": b'{"name": "a JavaScript bundle"}', "index.js": b"mine"},
        {"bundle.json": b"not JSON", "photo.jpg": b"mine"},
        {"bundle.json/photo.jpg": b"mine"},
    ],
    ids=["photos", "another bundle.json", "a broken bundle.json", "a folder bundle.json"],
)
def test_another_folder_is_left_alone(tmp_path, content):
    target = tmp_path / "folder"
    for name, data in content.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)
    before = snapshot(tmp_path)
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        write_bundle(bundle_at(target), MODELS, GOLDEN, [CARD])
    assert snapshot(tmp_path) == before


def test_a_file_in_place_of_the_bundle_is_left_alone(tmp_path):
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        write_bundle(bundle_at(tmp_path / "bundle"), MODELS, GOLDEN, [CARD])
    assert (tmp_path / "bundle").read_text() == "mine"


@pytest.mark.parametrize("there_was_one", [True, False])
def test_a_failed_write_leaves_the_old_bundle_or_none(tmp_path, there_was_one):
    bundle = bundle_at(tmp_path / "bundle")
    if there_was_one:
        write_bundle(bundle, MODELS, GOLDEN, [CARD])
    before = snapshot(tmp_path)
    # The models are written before the missing second golden picture is noticed.
    with pytest.raises(ValueError, match="shorter"):
        write_bundle(bundle, {"model-int8.tflite": b"new"}, GOLDEN[:1], [CARD])
    assert snapshot(tmp_path) == before


# --- choosing a file --------------------------------------------------------------------------


def test_a_file_is_found_by_name_and_an_error_lists_the_names(written):
    assert written.file("model.onnx").precision == "float32"
    with pytest.raises(
        BundleError, match=r"; the file must be one of model-int8\.tflite, model\.onnx$"
    ):
        written.file("model.tflite")


def test_the_device_prefers_small_files_that_reached_their_floor(tmp_path):
    # In the order of preference.
    kinds = [
        ("tflite", "int8"),
        ("tflite", "float32"),
        ("tflite", "float16"),
        ("onnx", "int8"),
        ("onnx", "float32"),
        ("onnx", "float16"),
    ]
    files = [entry("/".join(kind), *kind) for kind in kinds]
    bundle = bundle_at(tmp_path, files=tuple(reversed(files)))
    assert bundle.preferred() == files
    lost = dataclasses.replace(files[0], agreement=FLOORS["tflite", "int8"] - 1e-9)
    assert bundle_at(tmp_path, files=(lost, *files[1:])).preferred() == files[1:]


def test_a_file_exactly_on_its_floor_reached_it():
    assert entry("m", agreement=FLOORS["tflite", "int8"]).kept_floor
    assert not entry("m", agreement=float("nan")).kept_floor


def test_if_no_file_reached_its_floor_one_must_be_named(tmp_path):
    with pytest.raises(BundleError, match=r"reached its agreement floor on ") as raised:
        bundle_at(tmp_path, files=(entry("m.tflite", agreement=0.1),)).preferred()
    assert raised.value.fix == (
        f"to run one anyway, name it with --file. For a better file: {IMPROVE}"
    )


# --- damage -----------------------------------------------------------------------------------


def test_a_folder_without_a_manifest_is_not_a_bundle(tmp_path):
    with pytest.raises(
        BundleError, match=r"is not a bundle: it has no bundle\.json; write one with 'unet-edge"
    ):
        Bundle.open(tmp_path)


def test_a_folder_that_does_not_exist_is_named_so(tmp_path):
    absent = tmp_path / "absent"
    with pytest.raises(BundleError) as raised:
        Bundle.open(absent)
    assert raised.value.found == f"no such folder: {absent}"
    assert raised.value.fix == "name a folder that 'unet-edge export' wrote"


@pytest.mark.parametrize("name", ["model.onnx", "golden/02.png", "golden/01.mask.png", "README.md"])
def test_a_missing_file_is_named(written, name):
    (written.path / name).unlink()
    with pytest.raises(BundleError, match=rf"is incomplete: {name} is missing; copy"):
        Bundle.open(written.path)


def test_a_changed_file_is_noticed_when_it_is_read(written):
    for name in written.members():
        data = bytearray((written.path / name).read_bytes())
        data[len(data) // 2] ^= 1
        (written.path / name).write_bytes(data)
    bundle = Bundle.open(written.path)
    for file in bundle.files:
        with pytest.raises(BundleError, match=rf"{file.name} is damaged.*copy the bundle again"):
            bundle.read(file)
    for golden in bundle.golden:
        with pytest.raises(BundleError, match=rf"{golden.picture} is damaged"):
            bundle.read_golden(golden)
    with pytest.raises(BundleError, match=r"README\.md is damaged"):
        bundle.read_card(bundle.card[0])


def test_a_changed_golden_mask_is_noticed(written):
    # Otherwise a file could be verified against another reference.
    (written.path / "golden/01.mask.png").write_bytes(png(LABELS))
    with pytest.raises(BundleError, match=r"01\.mask\.png is damaged"):
        written.read_golden(written.golden[0])


def test_sha256sum_checks_the_manifest(written):
    done = subprocess.run(["sha256sum", "-c", DIGEST], cwd=written.path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert Bundle.open(written.path).digest == sha256((written.path / MANIFEST).read_bytes())


def test_one_bit_of_the_manifest_is_noticed(written):
    path = written.path / MANIFEST
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(BundleError, match=r"bundle\.json is damaged.*copy the bundle again"):
            Bundle.open(written.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            r"is incomplete: bundle\.sha256 is missing, the digest of .*copy the complete folder",
        ),
        (b"", "SHA-256 is not the one in"),
        (b"0" * 64 + b"  bundle.json\n", "SHA-256 is not the one in"),
        (b"0" * 2000, r"bundle\.sha256 cannot be read: it has 2,000 bytes, expected at most 1,000"),
    ],
    ids=["missing", "empty", "another", "long"],
)
def test_without_its_digest_a_manifest_is_refused(written, content, message):
    path = written.path / DIGEST
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(BundleError, match=message):
        Bundle.open(written.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["files"][0].update(agreement=0.5),
        lambda data: data["files"][0].update(agreement=0.9, floor=0.95),
        lambda data: data.update(preferred=[]),
        lambda data: data["preferred"].append(data["preferred"][0]),
        lambda data: data["preferred"].__setitem__(0, "golden/01.png"),
    ],
    ids=["agreement", "floor", "none preferred", "one twice", "no model"],
)
def test_a_single_changed_figure_does_not_choose_another_file(written, change):
    data = json.loads((written.path / MANIFEST).read_bytes())
    change(data)
    text = json.dumps(data).encode()
    (written.path / MANIFEST).write_bytes(text)
    (written.path / DIGEST).write_bytes(digest_line(sha256(text)))
    with pytest.raises(
        BundleError, match=r"contradicts itself: it prefers .*; by its agreements and floors"
    ):
        Bundle.open(written.path)


def test_a_later_version_may_prefer_another_order(written):
    own = Bundle.open(written.path).preferred()
    data = json.loads((written.path / MANIFEST).read_bytes())
    data["preferred"].reverse()
    text = json.dumps(data).encode()
    (written.path / MANIFEST).write_bytes(text)
    (written.path / DIGEST).write_bytes(digest_line(sha256(text)))
    assert len(own) > 1
    assert Bundle.open(written.path).preferred() == own


def test_a_name_too_long_for_the_file_system_is_a_missing_file(written):
    edit(written, set_in("card", 0, "name", "a" * 300))
    with pytest.raises(BundleError, match=r"is incomplete: a{300} is missing; copy"):
        Bundle.open(written.path)


@pytest.mark.parametrize("name", ["model.onnx", "golden/01.png", "bundle.json", "bundle.sha256"])
def test_two_members_of_one_name_are_refused(written, name):
    edit(written, set_in("card", 0, "name", name))
    with pytest.raises(BundleError, match=f"names {name} 2 times"):
        Bundle.open(written.path)


def test_the_error_of_a_newer_schema_gives_the_upgrade_command(written):
    edit(written, lambda data: data.update(schema=SCHEMA + 1, something="new"))
    with pytest.raises(
        BundleError, match=r"bundle schema 2; .*up to 1; run: pip install --upgrade unet-edge"
    ):
        Bundle.open(written.path)


def test_a_manifest_says_where_the_files_were_measured(written):
    data = json.loads((written.path / MANIFEST).read_bytes())
    assert data["schema"] == SCHEMA
    assert data["processor"] == dataclasses.asdict(read_processor())
    assert [file["measured_by"] for file in data["files"]] == ["onnxruntime 1.32.0"] * 2
    assert Bundle.open(written.path) == written
    assert written.measured_elsewhere() is None


def test_a_file_that_failed_on_another_kind_of_processor_is_promising_but_not_preferred(tmp_path):
    failed = entry("model-int8.onnx", "onnx", agreement=0.964)
    kept = entry("model.onnx", "onnx", "float32", data=MODELS["model.onnx"])
    other = Processor("Some CPU", "x86_64", "x86 as of another planet")
    bundle = bundle_at(tmp_path, files=(failed, kept), processor=other)
    assert bundle.preferred() == [kept]
    assert bundle.promising() == [kept, failed]
    assert "Some CPU (x86 as of another planet) at export; this is" in bundle.measured_elsewhere()
    # On the same kind of processor, such a file is not promising.
    assert bundle_at(tmp_path, files=(failed, kept)).promising() == [kept]
    with pytest.raises(BundleError, match=r"no file of .* floor on Some CPU \(x86 as of another"):
        bundle_at(tmp_path, files=(failed,), processor=other).preferred()


def set_in(*path):
    """Change one value deep in the manifest; the last item is the new value."""

    def change(data):
        *keys, last, value = path
        for key in keys:
            data = data[key]
        if value is ...:
            del data[last]
        else:
            data[last] = value

    change.__name__ = "-".join(map(str, path))[:60]
    return change


@pytest.mark.parametrize(
    "change",
    [
        set_in("kind", "zip bundle"),
        set_in("schema", ...),
        set_in("schema", "1"),
        set_in("schema", 0),
        set_in("spec", ...),
        set_in("spec", "schema", 99),
        set_in("spec", "height", float("inf")),
        set_in("files", None),
        set_in("files", "abc"),
        set_in("files", [1]),
        set_in("files", 0, "sha256", ...),
        set_in("files", 0, "colour", 1),
        set_in("files", 0, "name", 5),
        set_in("files", 0, "name", ""),
        set_in("files", 0, "name", None),
        set_in("files", 0, "floor", "high"),
        set_in("files", 0, "agreement", None),
        set_in("files", 0, "format", "pb"),
        set_in("files", 0, "format", ["tflite"]),
        set_in("files", 0, "precision", "int4"),
        set_in("golden", 0, "mask", ...),
        set_in("golden", 0, "mask", 5),
        set_in("reference", []),
        set_in("tools", 5),
    ],
    ids=lambda change: change.__name__,
)
def test_a_malformed_manifest_is_refused_on_opening(written, change):
    edit(written, change)
    with pytest.raises(BundleError, match="bundle"):
        Bundle.open(written.path)


def test_a_format_and_precision_that_are_never_exported_together_are_refused(written):
    # Both are known, but the pair has no place in the order of preference.
    edit(written, set_in("files", 1, "precision", "dynamic"))
    with pytest.raises(BundleError, match="precision is 'dynamic'; 'float32'"):
        Bundle.open(written.path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "binary", "nested"],
)
def test_text_that_is_not_a_manifest_is_refused(written, content):
    (written.path / MANIFEST).write_bytes(content)
    (written.path / DIGEST).unlink()
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.open(written.path)


@pytest.mark.parametrize("where", [("files", 0, "name"), ("golden", 1, "picture")])
@pytest.mark.parametrize("name", ["../secret", "golden/../../secret", "{absolute}"])
def test_a_manifest_cannot_reach_outside_its_folder(written, where, name):
    secret = written.path.parent / "secret"
    secret.write_text("secret")
    edit(written, set_in(*where, name.format(absolute=secret)))
    with pytest.raises(BundleError, match="path inside the bundle"):
        Bundle.open(written.path)


# --- with a real bundle -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_manifest_that_contradicts_its_files_is_refused(bundle_path, tmp_path):
    # The manifest and its digest were edited, but not the contract inside the files.
    copy = tmp_path / "bundle"
    shutil.copytree(bundle_path, copy)
    data = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    data["spec"]["fit"] = "stretch"
    seal_manifest(copy, data)
    with pytest.raises(UnetEdgeError):
        Segmenter.open(copy)
