"""bundle.json: its published schema, its reader, and manifests of the schema before."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from paths import SMALL_BUNDLE

from unet_edge.bundle.bundle import FLOORS, MANIFEST, Bundle
from unet_edge.bundle.json_schema import KEYWORDS, first_error
from unet_edge.bundle.manifest import SCHEMA, Reason, manifest_schema
from unet_edge.cli import main
from unet_edge.errors import BundleError
from unet_edge.model_files.embedded_contract import Format, Precision
from unet_edge.spec import _CHOICES
from unet_edge.spec import SCHEMA as SPEC_SCHEMA

jsonschema = pytest.importorskip("jsonschema", reason="fix with: pip install '.[dev]'")

"""Exported at commit f9b512c, before schema 2: a network of three convolutions on 48x40 px."""

FIRST: dict[str, Any] = json.loads((SMALL_BUNDLE / MANIFEST).read_bytes())
SECOND: dict[str, Any] = FIRST | {
    "schema": 2,
    "files": [
        f | {"label_iou": [0.8, None], "golden_agreement": 0.99, "float_layers": ["conv1"]}
        for f in FIRST["files"]
    ],
    "golden": [
        g | {"chosen": {"reason": "agreement", "figure": 0.98, "file": "model-int8.tflite"}}
        for g in FIRST["golden"]
    ],
    "reference": FIRST["reference"]
    | {"label_iou": None, "worst_miou": 0.5, "network": "unet_mini", "parameters": 954},
    "data": {"train": 8, "validation": 3, "calibration": 8},
    "license": None,
    "card": [{"name": "README.md", "sha256": "0" * 64}],
    "search": {
        "min_agreement": 0.998,
        "max_miou_drop": None,
        "errors": [{"layers": ["conv1", "conv2"], "divergence": -1e-4}],
        "candidates": [
            {
                "recipe": "full integer",
                "precision": "int8",
                "float_layers": [],
                "bytes": 6106,
                "agreement": 0.99,
                "worst": 0.98,
                "miou_drop": -0.1,
                "ms": 0.5,
                "holds": False,
                "pareto": True,
                "kept": False,
            },
        ],
    },
}


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(manifest_schema())


# --- the schema -------------------------------------------------------------------------------


def test_it_is_a_schema_of_draft_2020_12() -> None:
    schema = manifest_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_inspect_prints_it() -> None:
    result = CliRunner().invoke(main, ["inspect", "--schema"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == manifest_schema()


def subschemas(schema: Any) -> list[dict[str, Any]]:
    if not isinstance(schema, dict):
        return []
    named = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    single = [schema.get(k) for k in ("items", "additionalProperties", "if", "then", "else")]
    below = [s for part in (*named, *single, *schema.get("allOf", ())) for s in subschemas(part)]
    return [schema, *below]


def test_it_uses_only_what_our_reader_understands() -> None:
    for schema in subschemas(manifest_schema()):
        assert schema.keys() <= KEYWORDS
        assert schema.get("$ref", "#/$defs/").startswith("#/$defs/")
        # Every object says what may be in it, and every pattern covers the whole text.
        if schema.get("type") == "object":
            assert "additionalProperties" in schema
        if "pattern" in schema:
            assert re.fullmatch(r"\^.*\$", schema["pattern"])


def test_its_choices_are_those_of_the_code() -> None:
    schema = manifest_schema()
    defined = schema["$defs"]
    assert schema["properties"]["schema"]["enum"] == list(range(1, SCHEMA + 1))
    assert defined["chosen"]["properties"]["reason"]["enum"] == list(get_args(Reason))
    spec, file = defined["spec"]["properties"], defined["file"]["properties"]
    assert spec["schema"]["enum"] == list(range(1, SPEC_SCHEMA + 1))
    assert {name: tuple(spec[name]["enum"]) for name in _CHOICES} == _CHOICES
    for file_format in get_args(Format):
        for precision in get_args(Precision):
            entry = FIRST["files"][0] | {"format": file_format, "precision": precision}
            error = first_error(FIRST | {"files": [entry]}, schema)
            assert (error is None) == ((file_format, precision) in FLOORS), error
    assert file["format"]["enum"] == list(get_args(Format))


# --- the reader and the schema ----------------------------------------------------------------


THIRD = SECOND | {"schema": 3, "spec": FIRST["spec"] | {"schema": 3, "decoding": "scaled"}}


FOURTH = THIRD | {
    "schema": 4,
    "files": [file | {"measured_by": "onnxruntime 1.32.0"} for file in SECOND["files"]],
    "processor": {"model": "AMD EPYC", "architecture": "x86_64", "int8": "x86 with VNNI"},
    "preferred": [],
}


def test_manifests_of_all_schemas_are_valid(validator: Any) -> None:
    for manifest in (FIRST, SECOND, THIRD, FOURTH):
        validator.validate(manifest)
        assert first_error(manifest, manifest_schema()) is None


@pytest.mark.parametrize("manifest", [FOURTH | {"files": SECOND["files"]}, THIRD | {"schema": 4}])
def test_schema_4_says_where_agreements_were_measured(manifest: Any, validator: Any) -> None:
    assert not validator.is_valid(manifest)
    assert first_error(manifest, manifest_schema())


def test_a_really_exported_manifest_is_valid(bundle_path: Path, validator: Any) -> None:
    manifest = json.loads((bundle_path / MANIFEST).read_bytes())
    validator.validate(manifest)
    assert manifest["schema"] == SCHEMA
    assert json.loads(json.dumps(Bundle.open(bundle_path).to_dict())) == manifest


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a manifest, the manifest's own included."""
    below: Any = ()
    if isinstance(data, dict | list):
        below = data.items() if isinstance(data, dict) else enumerate(data)
    return [path, *(p for key, value in below for p in places(value, (*path, key)))]


def damaged(manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    """Manifests with one value replaced, removed or added, and what was done."""
    replacements = (None, True, -1, 0, 1.5, 2, "", "x", "../x", "x\n", [], {}, [None])
    found: list[tuple[str, Any]] = []
    for path in places(manifest)[1:]:
        *keys, last = path
        for value in (*replacements, ...):
            copied = copy.deepcopy(manifest)
            parent: Any = copied
            for key in keys:
                parent = parent[key]
            if value is ...:
                del parent[last]
            else:
                parent[last] = value
            found.append((f"{'.'.join(map(str, path))} = {value!r}", copied))
    for path in places(manifest):
        copied = copy.deepcopy(manifest)
        target: Any = copied
        for key in path:
            target = target[key]
        if isinstance(target, dict):
            target["extra"] = 1
            found.append((f"{path} gets an extra field", copied))
    return found


@pytest.mark.parametrize(
    "manifest", [FIRST, SECOND, THIRD], ids=["schema 1", "schema 2", "schema 3"]
)
def test_our_reader_judges_damage_as_the_jsonschema_library_does(
    manifest: dict[str, Any], validator: Any
) -> None:
    schema = manifest_schema()
    cases = damaged(manifest)
    refused = 0
    for what, data in cases:
        error = first_error(data, schema)
        # The library's $ stands in front of a last line break too, which ECMA 262's does not.
        if "'x\\n'" not in what:
            assert (error is None) == validator.is_valid(data), (what, error)
        refused += error is not None
    # The rest are values that may stand there.
    assert refused > 0.8 * len(cases) > 800


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("files", 0, "sha256"), "abc", r"files\[0\]\.sha256 is 'abc'; SHA-256 in lower-case"),
        (("files", 0, "bytes"), 0, r"files\[0\]\.bytes is 0; at least 1 was expected"),
        (("files", 1, "agreement"), 1.01, r"files\[1\]\.agreement is 1\.01; at most 1 was"),
        (("files", 0, "pictures"), True, r"files\[0\]\.pictures is True; integer was expected"),
        (("golden", 0, "mask"), "/etc/passwd", r"mask is '/etc/passwd'; A path inside the bundle"),
        (("golden", 0, "chosen", "reason"), "luck", r"'luck'; 'agreement' or 'miou' or 'near-"),
        (("data", "train"), None, r"data\.train is None; integer was expected"),
        (("card", 0), {"name": "README.md"}, r"card\[0\] lacks sha256"),
        (("schema",), 1, r"does not belong there"),
        (("spec", "normalisation", "std"), 0, r"std is 0; more than 0 was expected"),
        (("colour",), "red", r"colour does not belong there"),
    ],
)
def test_damage_is_refused_by_reader_and_schema_alike(
    path: tuple[Any, ...], value: Any, message: str, validator: Any, tmp_path: Path
) -> None:
    data = copy.deepcopy(SECOND)
    *keys, last = path
    parent: Any = data
    for key in keys:
        parent = parent[key]
    parent[last] = value
    assert not validator.is_valid(data)
    shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle")
    (tmp_path / "bundle" / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(BundleError, match=message) as error:
        Bundle.open(tmp_path / "bundle")
    assert "copy the bundle again" in str(error.value)


# --- schema 1 ---------------------------------------------------------------------------------


def test_a_bundle_of_schema_1_opens_with_what_it_did_not_say_left_empty() -> None:
    bundle = Bundle.open(SMALL_BUNDLE)
    assert (bundle.schema, bundle.data, bundle.license, bundle.card) == (1, None, None, ())
    assert [golden.chosen for golden in bundle.golden] == [None, None]
    assert bundle.reference.label_iou is None
    for entry in bundle.files:
        assert (entry.label_iou, entry.golden_agreement) == (None, None)
        assert entry.golden_floor == entry.floor
        assert len(bundle.read(entry)) == entry.bytes


def test_verify_inspect_and_segment_take_a_bundle_of_schema_1(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    verified = json.loads(run("verify", SMALL_BUNDLE, "--file", "model-float32.onnx", "--json"))
    assert verified["files"][0]["agreement"] == 1
    assert verified["files"][0]["floor"] == 0.99999
    # Its int8 file has 99.65 % where it was made; another processor rounds a few pixels otherwise.
    verified = CliRunner().invoke(main, ["verify", str(SMALL_BUNDLE), "--json"])
    assert all(file["agreement"] > 0.985 for file in json.loads(verified.stdout)["files"])
    assert json.loads(run("inspect", SMALL_BUNDLE, "--json"))["schema"] == 1
    assert "model-int8.tflite" in run("inspect", SMALL_BUNDLE)
    run("segment", SMALL_BUNDLE, SMALL_BUNDLE / "golden" / "01.png", "-o", tmp_path)
    assert (tmp_path / "01.mask.png").is_file()


def test_nan_in_a_manifest_of_before_is_read_as_no_figure(tmp_path: Path) -> None:
    # json.dumps wrote the mIoU of pictures without a labelled pixel as NaN, which is no JSON.
    shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle")
    data = copy.deepcopy(FIRST)
    data["reference"]["label_miou"] = float("nan")
    (tmp_path / "bundle" / MANIFEST).write_text(json.dumps(data))
    assert Bundle.open(tmp_path / "bundle").reference.label_miou is None


def test_the_golden_floor_is_lower_by_what_the_pictures_are_harder() -> None:
    (entry, _) = Bundle.open(SMALL_BUNDLE).files

    def floor(agreement: float, golden: float) -> float:
        changed = dataclasses.replace(entry, agreement=agreement, golden_agreement=golden)
        # A file passes on the golden pictures exactly if it passed on all of them.
        assert (golden >= changed.golden_floor) == changed.kept_floor or golden > agreement
        return changed.golden_floor

    assert floor(0.998, 0.990) == pytest.approx(0.995 - 0.008)
    assert floor(0.990, 0.980) == pytest.approx(0.995 - 0.010)
    # Easier pictures ask for no more.
    assert floor(0.997, 0.999) == 0.995
