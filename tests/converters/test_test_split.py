"""Test pictures in an export: manifest and card have the same figures as `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_run import FORMATS, make_run

from unet_edge import Bundle
from unet_edge.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_with_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, 3 of whose 8 held-out pictures are test pictures."""
    root = tmp_path_factory.mktemp("test-split")
    run = make_run(root)
    held_out = (root / "data" / "val.txt").read_text().split()
    (root / "data" / "val.txt").write_text("\n".join(held_out[:5]))
    (root / "data" / "test.txt").write_text("\n".join(held_out[5:]))
    done = CliRunner().invoke(main, ["export", str(run), "--formats", FORMATS])
    assert done.exit_code == 0, done.output
    assert "test mIoU" in done.stdout
    assert "on 5 validation pictures" in done.stdout
    assert "on 3 test pictures" in done.stdout
    return run


def test_the_manifest_has_the_figures_of_evaluate(run_with_tests: Path) -> None:
    data = run_with_tests.parent / "data"
    command = ["evaluate", run_with_tests, "--data", data, "--split", "test"]
    arguments = [*map(str, command), "--all-files", "--json"]
    report = json.loads(CliRunner().invoke(main, arguments).stdout)
    bundle = Bundle.open(run_with_tests / "bundle")
    assert bundle.test is not None
    assert (bundle.test.pictures, bundle.test.of, bundle.reference.pictures) == (3, 3, 5)
    assert bundle.test.keras.label_miou == report["reference"]["miou"]
    assert bundle.test.keras.agreement is None
    for entry, quality, measured in zip(
        bundle.files, bundle.test.files, report["files"], strict=True
    ):
        assert entry.name == measured["model"]
        assert quality.label_miou == measured["miou"]
        assert quality.label_iou == tuple(measured["iou"].values())
        assert quality.agreement == measured["agreement"]
    assert bundle.test.keras.label_miou != bundle.reference.label_miou


def test_the_card_has_the_figures_of_the_test_pictures(run_with_tests: Path) -> None:
    bundle = Bundle.open(run_with_tests / "bundle")
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert bundle.test is not None
    assert "IoU over the 3 test pictures." in card
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in card.splitlines()]
    means = [line[1:] for line in lines if line[0] == "mean"]
    columns = [bundle.test.keras, *bundle.test.files]
    assert means[1] == [f"{column.label_miou:.4f}" for column in columns]
