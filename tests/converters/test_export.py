"""Export: the contents of a bundle, their figures, and their reproducibility."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converters.export import export
from converters.int8.calibration import calibration_grids
from converters.int8.search import Budget
from converters.settings import ExportSettings, parse_artifact
from unet_edge import Bundle, Segmenter
from unet_edge.errors import ConfigError, ConversionError
from unet_edge.images.decoding import decode
from unet_edge.images.placement import place
from unet_edge.masks.metrics import Confusion
from unet_edge.model_files.embedded_contract import read_contract
from unet_edge.model_files.read_graph import read_graph
from unet_edge.runtime.backends.keras_model import load_keras
from unet_edge.runtime.segmenter import read_spec
from unet_edge.training.config import read_config


def test_the_manifest_describes_its_files(fresh_bundle_path: Path, run_path: Path) -> None:
    manifest = json.loads((fresh_bundle_path / "bundle.json").read_text())
    for entry in manifest["files"]:
        data = (fresh_bundle_path / entry["name"]).read_bytes()
        assert entry["bytes"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert read_contract(fresh_bundle_path / entry["name"]).spec == read_spec(
            run_path / "spec.json"
        )
    keras = (run_path / "model.keras").read_bytes()
    assert manifest["reference"]["keras_sha256"] == hashlib.sha256(keras).hexdigest()


def test_the_committed_bundle_is_what_an_export_writes(
    bundle_path: Path, fresh_bundle_path: Path
) -> None:
    """Another processor made it, so its weights and figures may differ in the last digits.

    If this fails, the format has changed: run tests/support/trained_data.py again.
    """
    committed, fresh = Bundle.open(bundle_path), Bundle.open(fresh_bundle_path)
    assert committed.spec == fresh.spec
    assert committed.reference.keras_sha256 == fresh.reference.keras_sha256
    assert names_in(committed.to_dict()) == names_in(fresh.to_dict())
    assert [entry.name for entry in committed.files] == [entry.name for entry in fresh.files]
    for old, new in zip(committed.files, fresh.files, strict=True):
        graphs = [
            read_graph(bundle.read(entry), entry.format, entry.name)
            for bundle, entry in ((committed, old), (fresh, new))
        ]
        assert graphs[0].operators == graphs[1].operators
        assert abs(old.agreement - new.agreement) < 0.001
        assert new.kept_floor


def names_in(value: Any) -> Any:
    """The names of a manifest's fields, without their values."""
    if isinstance(value, dict):
        return {name: names_in(each) for name, each in value.items()}
    return [names_in(each) for each in value] if isinstance(value, list) else type(value)


def test_golden_masks_are_keras_masks(fresh_bundle_path: Path, run_path: Path) -> None:
    keras = Segmenter.open(run_path)
    bundle = Bundle.open(fresh_bundle_path)
    assert len(bundle.golden) == 4
    for golden in bundle.golden:
        picture, labels = bundle.read_golden(golden)
        np.testing.assert_array_equal(keras.segment(picture).labels, labels)


def test_the_manifests_agreement_is_that_of_its_files(
    fresh_bundle_path: Path, run_path: Path, sample_data: Path
) -> None:
    keras = Segmenter.open(run_path)
    for entry in Bundle.open(fresh_bundle_path).files:
        file = Segmenter.open(fresh_bundle_path, file=entry.name)
        against_keras, against_truth = Confusion.empty(2), Confusion.empty(2)
        for name in (sample_data / "val.txt").read_text().split():
            photo = sample_data / "images" / f"{name}.png"
            truth = np.asarray(Image.open(sample_data / "masks" / f"{name}.png"))
            labels = file.segment(photo).labels
            against_keras += Confusion.of(keras.segment(photo).labels, labels, 2)
            against_truth += Confusion.of(truth, labels, 2)
        assert entry.pictures == 5
        assert entry.agreement == against_keras.accuracy
        assert entry.mask_miou == against_keras.miou
        assert entry.label_miou == against_truth.miou


def test_agreement_falls_with_precision(fresh_bundle_path: Path) -> None:
    files = {entry.name: entry for entry in Bundle.open(fresh_bundle_path).files}
    assert files["model-float32.tflite"].agreement >= 0.99999
    assert files["model-float32.onnx"].agreement >= 0.99999
    assert files["model-float16.tflite"].agreement >= 0.999
    assert files["model-float16.onnx"].agreement >= 0.999
    assert 0.99 < files["model-int8.tflite"].agreement < 1
    assert 0.99 < files["model-int8.onnx"].agreement < 1


@pytest.mark.slow
def test_a_second_export_gives_the_same_bytes(
    fresh_bundle_path: Path, run_path: Path, tmp_path: Path
) -> None:
    again = export(
        load_keras(run_path / "model.keras"),
        read_spec(run_path / "spec.json"),
        read_config(run_path).dataset(),
        tmp_path / "again",
        keras_sha256=Bundle.open(fresh_bundle_path).reference.keras_sha256,
        settings=ExportSettings(golden=4),
    )
    for name in ["bundle.json", "bundle.sha256", *again.members()]:
        assert (tmp_path / "again" / name).read_bytes() == (
            fresh_bundle_path / name
        ).read_bytes(), name


def exported(run_path: Path, output: Path, **settings: Any) -> Bundle:
    model = run_path / "model.keras"
    spec = read_spec(run_path / "spec.json")
    if settings.pop("labels", False):
        spec = dataclasses.replace(spec, output="labels")
    return export(
        load_keras(model),
        spec,
        read_config(run_path).dataset(),
        output,
        keras_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        settings=ExportSettings(golden=1, calibration=8, **settings),
    )


@pytest.mark.slow
def test_with_a_budget_the_bundle_has_the_fastest_file_that_holds_it(
    run_path: Path, tmp_path: Path
) -> None:
    artifacts = (("tflite", "float32"), ("tflite", "int8"), ("tflite", "dynamic"))
    exported(run_path, tmp_path / "b", artifacts=artifacts, budget=Budget(0.5), fine_tuning=0)
    bundle = Bundle.open(tmp_path / "b")  # as written, and by the published schema
    assert bundle.search is not None
    candidates = bundle.search.candidates
    assert [c.recipe for c in candidates] == ["full integer", "dynamic", "float16", "float32"]
    (kept,) = (c for c in candidates if c.kept)
    assert kept.ms == min(c.ms for c in candidates if c.holds)
    # The search replaces the files with int8 weights, and every file holds the budget.
    assert {e.name for e in bundle.files} == {"model-float32.tflite"} | {
        f"model-{kept.precision}.tflite"
    }
    assert all(entry.agreement >= 0.5 for entry in bundle.files)
    for entry in bundle.files:
        assert entry.float_layers == ()


@pytest.mark.slow
def test_a_budget_that_no_file_holds_is_an_error_and_leaves_no_bundle(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.int8.search.PAIRS", ())
    monkeypatch.setattr(Budget, "holds", lambda *_: False)
    with pytest.raises(ConversionError, match=r"the closest, .* lower --min-agreement"):
        exported(run_path, tmp_path / "b", budget=Budget(1.0), fine_tuning=0)
    assert not (tmp_path / "b").exists()
    with pytest.raises(ConfigError, match="with --labels or with --min-agreement"):
        exported(run_path, tmp_path / "b", budget=Budget(0.9), labels=True)


@pytest.mark.slow
def test_full_integer_rounds_the_stem_too(run_path: Path, tmp_path: Path) -> None:
    artifacts = (("tflite", "int8"),)
    for full, layers in ((False, ("conv1", "conv_dw_1")), (True, ())):
        bundle = exported(run_path, tmp_path / str(full), artifacts=artifacts, full_integer=full)
        (entry,) = bundle.files
        assert entry.float_layers == layers
        graph = read_graph((bundle.path / entry.name).read_bytes(), "tflite", entry.name)
        assert graph.kernels.get("float32", 0) == len(layers)


def test_calibration_uses_training_pictures_on_the_devices_grid(
    run_path: Path, sample_data: Path
) -> None:
    config = read_config(run_path)
    spec = config.spec()
    grids = calibration_grids(config.dataset(), spec, count=6, seed=1)
    names = (sample_data / "train.txt").read_text().split()
    expected = {
        place(decode(sample_data / "images" / f"{name}.png"), spec).tobytes() for name in names
    }
    assert len({grid.tobytes() for grid in grids}) == 6
    assert {grid.tobytes() for grid in grids} <= expected
    again = calibration_grids(config.dataset(), spec, count=6, seed=1)
    assert [g.tobytes() for g in again] == [g.tobytes() for g in grids]


def test_format_names() -> None:
    assert parse_artifact("tflite-float16") == ("tflite", "float16")
    with pytest.raises(ConfigError, match="it must be one of tflite-float32"):
        parse_artifact("tflite-int4")
    with pytest.raises(ConfigError, match="no format"):
        ExportSettings(artifacts=())
