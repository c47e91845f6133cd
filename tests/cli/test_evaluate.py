"""The evaluate command on real files: figures, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from PIL import Image

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_labels
from unet_edge.masks.boundary import Boundary
from unet_edge.masks.metrics import Confusion
from unet_edge.masks.region_matching import RegionMatches


def run(*arguments: object, status: int = 0) -> tuple[str, str]:
    """What evaluate prints on standard output and standard error."""
    command = ["evaluate", *(str(a) for a in arguments)]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def run_json(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json")[0])


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def data(sample_data: Path, tmp_path: Path) -> Path:
    """A copy of the pictures and masks, for tests that change them."""
    return Path(shutil.copytree(sample_data, tmp_path / "data"))


def rewrite_masks(data: Path, change: Any) -> None:
    """Replace each mask's labels, uint8 (H, W), by what `change` makes of them."""
    for path in (data / "masks").iterdir():
        Image.fromarray(change(np.asarray(read_labels(path)))).save(path)


class TestFigures:
    def test_run_and_bundle_agree(
        self, run_path: Path, bundle_path: Path, sample_data: Path
    ) -> None:
        keras = run_json(run_path, "--data", sample_data)
        file = "model-float32.tflite"
        exported = run_json(bundle_path, "--file", file, "--data", sample_data)
        result = json.loads((run_path / "result.json").read_text())
        # The pictures have the grid's size, so no resampling lies between the figures. 1 pixel in
        # 100,000 may differ, by the order of sums; that moves the mIoU by under 1e-5.
        assert keras["miou"] == pytest.approx(result["validation_miou"], abs=2e-5)
        assert exported["miou"] == pytest.approx(keras["miou"], abs=2e-5)
        assert len(keras["pictures"]) == 5

    @pytest.mark.parametrize("file", ["model-int8.tflite", "model-int8.onnx"])
    def test_a_single_file_is_scored_as_its_masks_say(
        self, bundle_path: Path, sample_data: Path, file: str
    ) -> None:
        report = run_json(bundle_path / file, "--data", sample_data, "--tolerance", 2)
        segmenter = Segmenter.open(bundle_path / file)
        confusion, boundary = Confusion.empty(2), Boundary.empty(2)
        regions = RegionMatches.empty(2)
        for name in (sample_data / "val.txt").read_text().split():
            truth = np.asarray(read_labels(sample_data / "masks" / f"{name}.png"))
            labels = segmenter.segment(sample_data / "images" / f"{name}.png").labels
            confusion += Confusion.of(truth, labels, 2)
            boundary += Boundary.of(truth, labels, 2, 2)
            regions += RegionMatches.of(truth, labels, 2)
        assert report["model"] == file
        assert report["confusion"] == confusion.counts.tolist()
        for figure in ("iou", "dice", "precision", "recall"):
            assert tuple(report[figure].values()) == getattr(confusion, figure)
        assert tuple(report["boundary_f"].values()) == boundary.f_score
        assert list(report["iou"]) == ["cell", "membrane"]
        assert report["boundary_tolerance_px"] == 2
        assert report["regions"] == regions.to_dict(segmenter.spec.classes)

    def test_masks_are_read_as_the_run_read_them(
        self, run_path: Path, sample_data: Path, data: Path, tmp_path: Path
    ) -> None:
        """Inverted black-and-white masks, which "auto" would take for white = class 1."""
        rewrite_masks(data, lambda labels: np.where(labels == 1, 0, 255).astype(np.uint8))
        shutil.copytree(run_path, tmp_path / "run")
        config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
        config["masks"] = "binary<=127"
        (tmp_path / "run" / "config.toml").write_text(tomli_w.dumps(config))
        expected = run_json(run_path, "--data", sample_data)["miou"]
        found = run_json(tmp_path / "run", "--data", data)["miou"]
        assert found == expected
        auto = run_json(tmp_path / "run", "--data", data, "--masks", "auto")  # given, so it counts
        assert auto["masks"].startswith("binary>127")
        assert auto["miou"] < expected

    def test_lists_of_the_run_hold_for_its_own_data_only(
        self, run_path: Path, sample_data: Path, data: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(run_path, tmp_path / "run")
        (held_out := tmp_path / "held-out.txt").write_text(
            "\n".join(sorted(path.stem for path in (data / "images").iterdir())[:3])
        )
        config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
        config["validation_list"] = str(held_out)
        (tmp_path / "run" / "config.toml").write_text(tomli_w.dumps(config))
        kept = run_json(tmp_path / "run", "--data", sample_data)
        assert len(kept["pictures"]) == 5  # split.json has the pictures that the run used
        (tmp_path / "run" / "split.json").unlink()  # lost
        own = run_json(tmp_path / "run", "--data", sample_data)
        assert len(own["pictures"]) == 3
        other = run_json(tmp_path / "run", "--data", data)  # the same pictures, elsewhere
        assert len(other["pictures"]) == 5  # its own val.txt

    def test_splits(self, bundle_path: Path, sample_data: Path) -> None:
        report = run_json(bundle_path, "--data", sample_data, "--split", "all")
        assert len(report["pictures"]) == 21

    def test_ignored_pixels_are_in_no_figure(
        self, bundle_path: Path, sample_data: Path, data: Path
    ) -> None:
        def ignore_left_half(labels: np.ndarray) -> np.ndarray:
            return np.where(np.arange(labels.shape[1]) < 96, 255, labels).astype(np.uint8)

        before = run_json(bundle_path, "--data", sample_data)
        rewrite_masks(data, ignore_left_half)
        after = run_json(bundle_path, "--data", data)
        assert before["pixels"] == 5 * 192 * 192
        assert after["pixels"] == 5 * 192 * 96
        assert [p["pixels"] for p in after["pictures"]] == [192 * 96] * 5

    def test_table(self, bundle_path: Path, sample_data: Path) -> None:
        report = run_json(bundle_path, "--data", sample_data)
        printed, _ = run(bundle_path, "--data", sample_data)
        heading, _, cell, membrane, mean, _, *regions, _, by, rest = printed.strip().splitlines()
        assert heading.split() == ["class", "IoU", "Dice", "precision", "recall", "boundary", "F"]
        figures = ("iou", "dice", "precision", "recall", "boundary_f")
        for line, name in ((cell, "cell"), (membrane, "membrane")):
            assert line.split() == [name, *(f"{report[f][name]:.4f}" for f in figures)]
        assert mean.split() == ["mean", *(f"{report['mean'][f]:.4f}" for f in figures)]
        assert mean.split()[1] == f"{report['miou']:.4f}"
        assert by == f"{report['model']} run by {report['backend']}"
        assert f"worst: {report['pictures'][0]['name']} " in rest
        # As in overlays, the first of two classes is the background, whose regions are not counted.
        heading, _, of_membranes = regions
        assert re.split(r" {2,}", heading) == [
            "regions", "true", "found (IoU 0.5)", "missed", "false", "touched", "untouched",
            "false (no overlap)",
        ]  # fmt: skip
        counts = report["regions"]["membrane"]
        shown = [counts["true"], *counts["iou_0.5"].values(), *counts["any_overlap"].values()]
        assert of_membranes.split() == ["membrane", *map(str, shown)]


class TestFolder:
    def test_holds_report_tables_and_pictures(
        self, bundle_path: Path, sample_data: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "evaluation"
        command = (bundle_path, "--data", sample_data, "-o", output, "--worst", 2)
        report = run_json(*command)
        assert sorted(path.name for path in output.iterdir()) == [
            "confusion.csv", "confusion.png", "pictures.csv", "report.json", "worst",
        ]  # fmt: skip
        written = json.loads((output / "report.json").read_text())
        assert written == {"kind": "unet-edge evaluation", **report}

        header, *lines = rows(output / "pictures.csv")
        assert header == [
            "picture", "miou", "accuracy", "boundary_f", "pixels", "iou cell", "iou membrane",
        ]  # fmt: skip
        mious = [float(line[1]) for line in lines]
        assert mious == sorted(mious)
        names = [line[0] for line in lines]
        assert sorted(names) == sorted((sample_data / "val.txt").read_text().split())
        for line in lines:
            assert float(line[1]) == pytest.approx((float(line[5]) + float(line[6])) / 2, abs=2e-6)

        assert rows(output / "confusion.csv") == [
            ["true \\ predicted", "cell", "membrane"],
            *([name, *map(str, counts)] for name, counts in zip(
                ("cell", "membrane"), report["confusion"], strict=True)),
        ]  # fmt: skip
        worst = sorted(path.name for path in (output / "worst").iterdir())
        assert worst == [f"01-{names[0]}.png", f"02-{names[1]}.png"]
        for path in (output / "confusion.png", output / "worst" / worst[0]):
            assert decode(path).width > 300

    def test_an_earlier_evaluation_is_replaced_as_a_whole(
        self, bundle_path: Path, sample_data: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "evaluation"
        run(bundle_path, "--data", sample_data, "-o", output)
        assert len(list((output / "worst").iterdir())) == 5
        run(bundle_path, "--data", sample_data, "-o", output, "--worst", 1, "--split", "train")
        assert len(list((output / "worst").iterdir())) == 1
        assert len(rows(output / "pictures.csv")) == 17
        run(bundle_path, "--data", sample_data, "-o", output, "--worst", 0)
        assert not (output / "worst").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["evaluation"], (
            "no temporary folder is left"
        )

    @pytest.mark.parametrize("foreign", ["notes.txt", "worst/mine.png", "report.json"])
    def test_other_things_are_left_alone(
        self, bundle_path: Path, sample_data: Path, tmp_path: Path, foreign: str
    ) -> None:
        output = tmp_path / "evaluation"
        if foreign != "report.json":  # then the report is of another tool
            run(bundle_path, "--data", sample_data, "-o", output, "--worst", 1)
        (output / foreign).parent.mkdir(parents=True, exist_ok=True)
        (output / foreign).write_text("{}")
        _, error = run(bundle_path, "--data", sample_data, "-o", output, status=1)
        assert "has files that are not part of an evaluation" in error
        assert foreign in error
        assert (output / foreign).read_text() == "{}"

    def test_a_file_in_its_place_is_refused(
        self, bundle_path: Path, sample_data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "taken").write_text("a file")
        for output in (tmp_path / "taken", tmp_path / "taken" / "below"):
            _, error = run(bundle_path, "--data", sample_data, "-o", output, status=1)
            assert error.startswith("error: ")
        assert (tmp_path / "taken").read_text() == "a file"

    def test_a_failed_evaluation_leaves_the_earlier_one(
        self, bundle_path: Path, data: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "evaluation"
        run(bundle_path, "--data", data, "-o", output)
        before = (output / "report.json").read_bytes()
        last = (data / "val.txt").read_text().split()[-1]
        (data / "images" / f"{last}.png").write_bytes(b"no picture at all")
        run(bundle_path, "--data", data, "-o", output, status=1)
        assert (output / "report.json").read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "evaluation"]


class TestMismatch:
    def test_masks_with_more_classes_than_the_model_are_refused(
        self, bundle_path: Path, data: Path
    ) -> None:
        def add_a_class(labels: np.ndarray) -> np.ndarray:
            labels = labels.copy()
            labels[:9] = 2
            return labels

        rewrite_masks(data, add_a_class)
        _, error = run(bundle_path, "--data", data, "--masks", "index", status=1)
        assert "holds 2, outside the 2 classes" in error
        assert "0 cell, 1 membrane" in error, "which classes the model has"

    def test_classes_in_another_order_are_suspected(self, bundle_path: Path, data: Path) -> None:
        rewrite_masks(data, lambda labels: 1 - labels)
        _, error = run(bundle_path, "--data", data)
        assert "most of cell is predicted as membrane and the other way round" in error

    def test_a_class_that_the_truth_does_not_have(self, bundle_path: Path, data: Path) -> None:
        rewrite_masks(data, np.zeros_like)
        printed, error = run(bundle_path, "--data", data, "--masks", "index")
        assert "no pixel of any true mask is of class 1, membrane" in error
        rows = [line.split() for line in printed.splitlines()]
        figures, regions = (row[1:] for row in rows if row[:1] == ["membrane"])
        assert figures == ["0.0000"] * 5, "predicted, but never right"
        true, found, missed, false, touched, untouched, false_too = map(int, regions)
        assert (true, found, missed, touched, untouched) == (0, 0, 0, 0, 0)
        assert false == false_too > 0

    def test_nothing_but_ignored_pixels_is_refused(self, bundle_path: Path, data: Path) -> None:
        rewrite_masks(data, lambda labels: np.full_like(labels, 255))
        _, error = run(bundle_path, "--data", data, "--masks", "index", status=1)
        assert "every pixel of every true mask is ignored" in error
