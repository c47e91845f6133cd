"""Mutated manifests and contracts, all digests right: refused in one line, or the same masks."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from paths import OLD_BUNDLE
from sealing import seal_manifest

from benchmarks.mutants import Mutants
from unet_edge.bundle.bundle import Bundle


def fourth_schema(folder: Path) -> Path:
    """The committed bundle, its manifest in schema 4."""
    shutil.copytree(OLD_BUNDLE, folder)
    seal_manifest(folder, Bundle.open(OLD_BUNDLE).to_dict() | {"schema": 4, **_added()})
    Bundle.open(folder)
    return folder


def _added() -> dict[str, object]:
    bundle = Bundle.open(OLD_BUNDLE).to_dict()
    for entry in bundle["files"]:
        entry |= {"label_iou": None, "golden_agreement": entry["agreement"], "measured_by": "x"}
    for golden in bundle["golden"]:
        golden["chosen"] = {"reason": "typical", "figure": None, "file": None}
    reference = bundle["reference"] | {"network": None, "parameters": 954}
    return {
        "files": bundle["files"],
        "golden": bundle["golden"],
        "reference": reference,
        "data": {"train": 8, "validation": 3, "calibration": 8},
        "processor": {"model": "x", "architecture": "x86_64", "int8": "x86 with VNNI"},
    }


@pytest.mark.parametrize("seed", range(4))
def test_mutants_are_refused_or_give_the_same_masks(tmp_path: Path, seed: int) -> None:
    mutants = Mutants(fourth_schema(tmp_path / "bundle"), tmp_path / "mutants")
    found = []
    for index in range(150):
        what = mutants.mutate(random.Random(1000 * seed + index))
        result = mutants.judge()
        found.append(result)
        assert not result[:3].isupper(), (what, result)
    assert found.count("refused") > 100
    assert "the same masks" in found
