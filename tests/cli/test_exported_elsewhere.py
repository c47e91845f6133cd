"""A bundle that was exported on one kind of processor and is used on another."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import refused, run, run_json
from sealing import seal_manifest

from unet_edge import Segmenter
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.errors import BundleError
from unet_edge.system.board import read_processor

OTHER = {"model": "Some CPU", "architecture": "x86_64", "int8": "x86 of another kind"}
WRONG = {"agreement": 0.964, "golden_agreement": 0.95}
FILE = "model-int8.onnx"

Edited = Callable[..., Path]


@pytest.fixture
def exported_elsewhere(bundle_path: Path, tmp_path: Path) -> Edited:
    """A copy of the bundle, of one file, measured on another kind of processor."""

    def make(processor: dict[str, str] = OTHER, **measured: Any) -> Path:
        folder = tmp_path / "bundle"
        shutil.copytree(bundle_path, folder)
        (folder / "tuning.json").unlink(missing_ok=True)
        manifest = json.loads((folder / MANIFEST).read_bytes())
        (entry,) = (file for file in manifest["files"] if file["name"] == FILE)
        manifest |= {"files": [entry | measured], "processor": processor}
        seal_manifest(folder, manifest)
        return folder

    return make


def test_a_file_that_failed_there_is_proven_here_and_tuned(exported_elsewhere: Edited) -> None:
    bundle = exported_elsewhere(**WRONG)
    proof = run_json("verify", bundle)
    assert [file["passed"] for file in proof["files"]] == [True]
    assert proof["processor"] == dataclasses.asdict(read_processor())
    with pytest.raises(BundleError, match=r"reached its agreement floor on Some CPU.*train longer"):
        Segmenter.open(bundle)  # until it is tuned, the agreement at export counts
    tuned = run_json("tune", bundle, "--runs", 1, "--rounds", 1, "--threads", 1)
    assert tuned["chosen"]["file"] == FILE
    assert tuned["machine"]["int8"] == read_processor().int8
    assert Segmenter.open(bundle).name == FILE


def test_the_error_of_a_file_that_fails_here_has_its_agreement_at_export(
    exported_elsewhere: Edited,
) -> None:
    output = refused("verify", exported_elsewhere(floor=1.0, agreement=1.0, golden_agreement=1.0))
    here = read_processor()
    assert f"on {here}; 100 % at export with onnxruntime" in output
    assert "on Some CPU (x86 of another kind)" in output
    assert "a file may reach its floor on one kind of processor and miss it on another" in output


def test_the_lower_floor_of_golden_pictures_is_explained(exported_elsewhere: Edited) -> None:
    bundle = exported_elsewhere(agreement=1.0, golden_agreement=0.99)
    why = "Golden pictures are harder, so their floor is lower, by the gap measured at export."
    assert why in run("verify", bundle)


def test_doctor_and_inspect_say_where_it_was_measured(exported_elsewhere: Edited) -> None:
    bundle = exported_elsewhere(**WRONG)
    output = run("doctor", bundle)
    there = "agreements were measured on Some CPU (x86 of another kind) at export; this is"
    assert f"{there} {read_processor()}: 'unet-edge verify" in output
    assert f"{FILE} missed its floor on Some CPU (x86 of another kind); 'unet-edge tune" in output
    assert "measured on Some CPU (x86 of another kind)" in run("inspect", bundle)


def test_on_the_same_kind_there_is_no_note(exported_elsewhere: Edited) -> None:
    bundle = exported_elsewhere(dataclasses.asdict(read_processor()))
    assert "agreements were measured" not in run("doctor", bundle)
    assert Segmenter.open(bundle).name == FILE
