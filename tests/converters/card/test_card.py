"""The model card: its figures are true, its pictures match the text, and its commands work."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_run import FORMATS, make_run

from converters.card.card import card_text
from converters.card.latency import read_latency
from converters.card.pictures import golden_rows
from unet_edge import Bundle, Segmenter
from unet_edge.cli import main
from unet_edge.drawing.thumbnails import DIFFERS
from unet_edge.errors import ConfigError
from unet_edge.percent import percent


@pytest.fixture(scope="module")
def card(fresh_bundle_path: Path) -> str:
    return (fresh_bundle_path / "README.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def row(card: str, first: str) -> list[list[str]]:
    """The rows of any table that begin with `first`."""
    return [cells(line) for line in card.splitlines() if cells(line)[0] == first]


def test_its_tables_hold_the_manifests_figures(card: str, fresh_bundle_path: Path) -> None:
    bundle = Bundle.open(fresh_bundle_path)
    for entry in bundle.files:
        ((_, precision, _, agreement, worst, floor, kept, miou, digest),) = row(card, entry.name)
        assert (precision, digest) == (entry.precision, f"`{entry.sha256[:12]}`")
        assert agreement == f"{percent(entry.agreement)} %"
        assert worst == f"{percent(entry.worst)} %"
        assert floor == f"{percent(entry.floor)} %"
        assert kept == ("yes" if entry.kept_floor else "**NO**")
        assert miou == f"{entry.label_miou:.4f}"
    ((_, *ious),) = row(card, "membrane")
    columns = [bundle.reference.label_iou, *(entry.label_iou for entry in bundle.files)]
    assert ious == [f"{column[1]:.4f}" for column in columns if column]
    assert row(card, "1") == [["1", "membrane", "`#ff4085`"]]
    # The fixture has 16 training pictures and 5 held-out ones, and uses all of them.
    assert "Trained on 16 pictures; 5 were held out (validation), of which 5 were used" in card
    assert "16 of the training pictures scaled" in card


def test_it_names_no_path_and_no_picture(
    fresh_bundle_path: Path, run_path: Path, sample_data: Path
) -> None:
    text = "".join((fresh_bundle_path / name).read_text() for name in ("README.md", "bundle.json"))
    for private in (str(run_path), str(sample_data), "cells-0", str(Path.home()), "/tmp"):
        assert private not in text


def test_its_pictures_exist_and_are_red_where_the_worst_file_differs(
    card: str, fresh_bundle_path: Path
) -> None:
    bundle = Bundle.open(fresh_bundle_path)
    links = re.findall(r"!\[[^]]*\]\(([^)]*)\)", card)
    assert [*links, "README.md"] == sorted(
        (file.name for file in bundle.card), key=[*links, "README.md"].index
    )
    contents = {file.name: bundle.read_card(file) for file in bundle.card}
    for index, golden in enumerate(bundle.golden, 1):
        photo, reference = bundle.read_golden(golden)
        worst = min(
            (Segmenter.open(fresh_bundle_path, file=entry.name) for entry in bundle.files),
            key=lambda segmenter: float((segmenter.segment(photo).labels == reference).mean()),
        )
        wrong = worst.segment(photo).labels != reference
        assert f"`{golden.picture}`: " in card
        assert f"`{worst.name}` differs most: {percent(1 - wrong.mean())} % as Keras" in card
        with Image.open(io.BytesIO(contents[f"card/{index:02d}.png"])) as picture:
            pixels = np.asarray(picture)
        # Three pictures of 192 px, 8 px apart, under a title of 22 px; none is reduced.
        panels = [pixels[22 : 22 + 192, 8 + 200 * i : 8 + 200 * i + 192] for i in range(3)]
        with Image.open(io.BytesIO(photo)) as original:
            np.testing.assert_array_equal(panels[0], np.asarray(original.convert("RGB")))
        tinted = (panels[1] != panels[0]).any(-1)
        assert (tinted & (reference == 0)).sum() == 0
        np.testing.assert_array_equal((panels[2] == DIFFERS).all(-1), wrong)


@pytest.mark.slow
def test_its_commands_work(card: str, fresh_bundle_path: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(fresh_bundle_path, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path / "bundle")
    (shell,) = re.findall(r"```sh\n(.*?)```", card, re.DOTALL)
    for line in shell.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "unet-edge"
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        # The fixture is hardly trained: its int8 files may be under their floors, so verify fails.
        assert result.exit_code == (1 if arguments[0] == "verify" and "**NO**" in card else 0)
    assert (tmp_path / "masks" / "01.overlay.png").is_file()
    (python,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    imported = [name for line in re.findall(r"import (.*)", python) for name in line.split(", ")]
    assert [name for name in imported if python.count(name) < 2] == [], "an import is not used"
    exec(compile(python, "README.md", "exec"), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["benchmark.json", "bundle", "masks"]

    measured = read_latency(tmp_path / "benchmark.json")
    bundle = Bundle.open(fresh_bundle_path)
    models = {entry.name: bundle.read(entry) for entry in bundle.files}
    golden = [
        tuple((fresh_bundle_path / name).read_bytes() for name in (g.picture, g.mask))
        for g in bundle.golden
    ]
    rows, _ = golden_rows(bundle, models, golden)
    assert card_text(bundle, rows, None) == card
    with_latency = card_text(bundle, rows, measured)
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert report["machine"]["model"].split()[0] in with_latency
    for entry in report["files"]:
        p50 = entry["cost"]["stages"]["total"]["p50"]
        ((_, shown),) = [r for r in row(with_latency, entry["name"]) if len(r) == 2]
        assert float(shown) == pytest.approx(p50, rel=0.005)  # three digits


def test_a_file_that_is_no_benchmark_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    with pytest.raises(ConfigError, match=r"cannot read .*benchmark\.json: No such file"):
        read_latency(path)
    for text in ("", "[]", "{}", '{"machine": 5}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"'unet-edge benchmark'.*run: unet-edge benchmark"):
            read_latency(path)


def test_inspect_reports_an_edited_card(fresh_bundle_path: Path, tmp_path: Path) -> None:
    shutil.copytree(fresh_bundle_path, tmp_path / "bundle")
    card = tmp_path / "bundle" / "README.md"
    card.write_text(card.read_text() + "and 100 % on everything\n")
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "bundle")])
    assert result.exit_code == 1
    assert "README.md is damaged" in result.output


@pytest.mark.slow
def test_the_card_has_the_licence_and_the_latency_of_the_same_files_only(tmp_path: Path) -> None:
    run, bundle, report = make_run(tmp_path), tmp_path / "bundle", tmp_path / "benchmark.json"

    def export(*more: object, status: int = 0) -> tuple[str, str]:
        arguments = ["export", run, "-o", bundle, "--formats", FORMATS, "--golden", "2", *more]
        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == status, result.output
        text = (bundle / "README.md").read_text(encoding="utf-8") if not status else ""
        return text, result.stderr

    plain, _ = export()
    assert "Not stated." in plain
    assert "Not measured;" in plain
    assert Bundle.open(bundle).license is None

    measured = {
        "machine": {"model": "Board | 5"}, "date": "2026-01-02", "threads": [4], "pictures": 2,
        "files": [
            {"sha256": Bundle.open(bundle).files[0].sha256,
             "cost": {"stages": {"total": {"p50": 12.34}}}},
            {"sha256": "0" * 64, "cost": None},
        ],
    }  # fmt: skip
    report.write_text(json.dumps(measured))
    card, stderr = export("--license", " CC BY 4.0 | by *me* ", "--benchmark", report)
    assert "CC BY 4.0 \\| by \\*me\\*" in card
    assert Bundle.open(bundle).license == " CC BY 4.0 | by *me* "
    assert row(card, "model-float16.tflite")[-1] == ["model-float16.tflite", "12.3"]
    assert "on Board \\| 5, 4 threads, 2 pictures, 2026-01-02" in card
    assert "WARNING" not in stderr

    measured["files"] = measured["files"][1:]
    report.write_text(json.dumps(measured))
    card, stderr = export("--benchmark", report)
    assert "WARNING" in stderr
    assert card == plain
    _, stderr = export("--license", " ", status=1)
    assert "leave --license out" in stderr


def test_the_card_of_an_imported_model_claims_no_training(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    counts = dataclasses.replace(bundle.data, train=0, calibration=16)
    text = card_text(dataclasses.replace(bundle, golden=(), data=counts), [], None)
    assert "Trained on" not in text
    assert "The pictures that trained this model are not recorded here." in text
    assert "The files were proven on 5 of 5 pictures. 16 other pictures scaled" in text
    assert "Whether the model was trained on the pictures of these figures is not known" in text
    assert row(text, "membrane")  # its mIoU figures are there
