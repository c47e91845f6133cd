"""The commands on real files: what they print, write and exit with."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image
from sealing import seal_manifest

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.cli.group import open_model
from unet_edge.errors import BackendError
from unet_edge.images.decoding import decode


def test_every_command_has_help_with_an_example() -> None:
    commands = run("--help")
    for name in (
        "train",
        "evaluate",
        "export",
        "inspect",
        "segment",
        "verify",
        "benchmark",
        "demo",
        "doctor",
        "tune",
    ):
        assert f"\n  {name} " in commands
        assert f"unet-edge {name}" in run(name, "--help").split("Example")[1]


class TestVerify:
    def test_float_files_pass_on_the_golden_pictures(self, bundle_path: Path) -> None:
        for name in ("model-float32.tflite", "model-float16.tflite", "model-float32.onnx"):
            (result,) = run_json("verify", bundle_path, "--file", name)["files"]
            assert result["passed"] is True
            assert result["pictures"] == 4
            assert result["pixels"] == 4 * 192 * 192
            assert result["agreement"] >= result["floor"]

    def test_a_floor_above_the_agreement_fails_with_the_next_step(
        self, bundle_path: Path, tmp_path: Path
    ) -> None:
        # The same files, with a floor in the manifest that only float32 files reach.
        copy = tmp_path / "bundle"
        copy.mkdir()
        for name in ("golden", "card", "README.md"):
            (copy / name).symlink_to(bundle_path / name)
        manifest = json.loads((bundle_path / "bundle.json").read_text())
        for entry in manifest["files"]:
            (copy / entry["name"]).symlink_to(bundle_path / entry["name"])
            entry["floor"] = 0.99999
        seal_manifest(copy, manifest)
        report = run_json("verify", copy, status=1)
        passed = {result["file"]: result["passed"] for result in report["files"]}
        assert report["reference"] is None  # the bundle's own masks
        assert passed["model-float32.tflite"]
        assert not passed["model-int8.tflite"]
        failed = ", ".join(name for name, reached in passed.items() if not reached)
        usable = ", ".join(name for name, reached in passed.items() if reached)
        lines = refused("verify", copy).splitlines()
        assert lines[-3:] == [
            f"below the floor: {failed}",
            f"usable here: {usable}; choose one with --file",
            "for a better file: on the workstation, train longer, or export within a budget: "
            "'unet-edge export RUN --min-agreement SHARE'",
        ]
        lines = refused("verify", copy, "--file", "model-int8.tflite").splitlines()
        assert lines[-3:-1] == [
            "below the floor: model-int8.tflite",
            f"to check the other files: unet-edge verify {copy}",
        ]

    def test_the_next_step_is_another_command(
        self, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def without_onnx(model: Path, file: str, *options: Any) -> Segmenter:
            if file.endswith(".onnx"):
                raise BackendError("no ONNX interpreter works here")
            return open_model(model, file, *options)

        monkeypatch.setattr("unet_edge.cli.verification.open_model", without_onnx)
        copy = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
        manifest = json.loads((copy / "bundle.json").read_text())
        entries = {entry["name"]: entry for entry in manifest["files"]}
        entries["model-int8.tflite"]["floor"] = 0.99999
        manifest["files"] = [entries["model-int8.tflite"], entries["model-float32.onnx"]]
        seal_manifest(copy, manifest)
        assert "to check the other files" not in refused("verify", copy)
        last = refused("verify", copy, "--backend", "ai-edge-litert").splitlines()[-2]
        assert last == f"to check the other files: unet-edge verify {copy}"

    def test_on_other_pictures_against_keras(
        self, bundle_path: Path, run_path: Path, photo: Path
    ) -> None:
        report = run_json(
            "verify", bundle_path, "--file", "model-float32.onnx",
            "--images", photo, "--images", photo.parent / "cells-018.png", "--against", run_path,
        )  # fmt: skip
        assert report["files"][0]["pictures"] == 2
        assert report["files"][0]["agreement"] >= 0.99999
        assert report["reference"]["file"] == "model.keras"
        assert report["reference"]["backend"].startswith("keras ")


class TestInspect:
    def test_bundle(self, bundle_path: Path) -> None:
        report = run_json("inspect", bundle_path)
        assert [entry["name"] for entry in report["files"]] == [
            "model-float32.tflite",
            "model-float16.tflite",
            "model-int8.tflite",
            "model-float32.onnx",
            "model-float16.onnx",
            "model-int8.onnx",
        ]
        assert report["spec"]["classes"] == ["cell", "membrane"]
        assert all(entry["contract_holds"] for entry in report["files"])
        tflite = ["tflite-runtime 2.14", "ai-edge-litert 1.2 or later"]
        onnx = ["onnxruntime 1.8 or later"]
        assert [entry["runs_on"] for entry in report["files"]] == [tflite] * 3 + [onnx] * 3
        # Alpha 0.25, separable: 32 convolutions, counted in converters/test_tflite.py.
        assert [entry["graph"]["kernels"] for entry in report["files"]] == [
            {"float32": 32},
            {"float16": 15, "float32": 17},  # the first, the last and depthwise kernels
            {"float32": 2, "int8 per channel": 30},  # the stem stays in float
            {"float32": 32},
            {"float16": 15, "float32": 17},
            {"float32": 3, "int8 per channel": 29},  # the stem and the last
        ]
        printed = run("inspect", bundle_path)
        assert "mask mIoU is against Keras' masks, label mIoU against the true labels" in printed
        for words in (
            "model-int8.tflite",
            "tflite-runtime 2.14, ai-edge-litert 1.2 or later",
            "onnxruntime 1.8 or later (opset 14, IR 7)",
            "uint8 -> float32",
            "2 float32, 30 int8 per channel",
            "17 CONV_2D, 15 DEPTHWISE_CONV_2D",
        ):
            assert words in printed

    def test_run(self, run_path: Path, bundle_path: Path, tmp_path: Path) -> None:
        for name in ("model.keras", "spec.json"):
            (tmp_path / name).symlink_to(run_path / name)
        assert run_json("inspect", tmp_path)["files"] == []
        (tmp_path / "bundle").symlink_to(bundle_path)
        found, expected = run_json("inspect", tmp_path), run_json("inspect", bundle_path)
        assert found.pop("path") == str(tmp_path / "bundle")
        assert expected.pop("path") == str(bundle_path)
        assert f"'unet-edge tune {tmp_path / 'bundle'}'" in found.pop("tuning")
        assert f"'unet-edge tune {bundle_path}'" in expected.pop("tuning")
        assert found == expected

    def test_single_file(self, bundle_path: Path) -> None:
        report = run_json("inspect", bundle_path / "model-int8.onnx")
        manifest = json.loads((bundle_path / "bundle.json").read_text())
        (entry,) = (e for e in manifest["files"] if e["name"] == "model-int8.onnx")
        assert report["sha256"] == entry["sha256"]
        assert report["spec"] == manifest["spec"]
        assert report["precision"] == "int8"
        assert report["contract_holds"] is True
        assert (report["graph"]["opset"], report["graph"]["ir_version"]) == (14, 7)
        printed = run("inspect", bundle_path / "model-int8.tflite")
        for words in (
            "holds: every byte is as exported",
            "tflite-runtime 2.14, ai-edge-litert 1.2 or later",
            "pixels, uint8 1x192x192x3, scale 0.0078125, zero point 128",
            "DEPTHWISE_CONV_2D",
        ):
            assert words in printed

    def test_a_file_without_a_contract_is_shown_and_refused(
        self, bundle_path: Path, tmp_path: Path
    ) -> None:
        complete = (bundle_path / "model-int8.tflite").read_bytes()
        foreign = tmp_path / "foreign.tflite"
        foreign.write_bytes(complete[: complete.rindex(b"PK\3\4")])
        report = run_json("inspect", foreign, status=1)
        assert (report["contract_holds"], report["spec"]) == (False, None)
        assert report["graph"]["kernels"] == {"float32": 2, "int8 per channel": 30}
        assert "DOES NOT HOLD" in run("inspect", foreign, status=1)

    def test_an_operator_that_the_old_runtime_does_not_know(
        self, tflite: Callable[..., bytes], tmp_path: Path
    ) -> None:
        path = tmp_path / "newer.tflite"
        path.write_bytes(tflite(("CONV_2D", 8)))
        printed = run("inspect", path, status=1)
        assert "ai-edge-litert 1.2 or later" in printed
        assert "not on tflite-runtime 2.14" in printed
        assert "CONV_2D version 8 (it has up to 7)" in printed


class TestLabels:
    @pytest.mark.slow
    def test_from_export_to_benchmark(
        self, run_path: Path, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        bundle = tmp_path / "labels"
        run("export", run_path, "-o", bundle, "--labels", "--formats", "tflite-float32,onnx-int8",
            "--check", 2, "--golden", 2, "--calibration", 4)  # fmt: skip
        report = run_json("inspect", bundle)
        assert report["spec"]["output"] == "labels"
        ends = [entry["graph"]["outputs"][0] for entry in report["files"]]
        assert [(e["name"], e["dtype"], e["shape"]) for e in ends] == [
            ("labels", "uint8", [1, 192, 192])
        ] * 2
        assert "labels, the class of each pixel (no scores)" in run("inspect", bundle)
        # Same weights, same masks as the bundle of scores.
        masks = [
            Segmenter.open(path, file="model-float32.tflite").segment(photo).labels
            for path in (bundle, bundle_path)
        ]
        assert np.array_equal(*masks)
        (result,) = run_json("verify", bundle, "--file", "model-float32.tflite")["files"]
        assert result["agreement"] >= 0.99999
        # The run itself gives scores; its masks are a reference nevertheless.
        report = run_json("verify", bundle, "--file", "model-float32.tflite", "--images", photo,
                          "--against", run_path)  # fmt: skip
        assert report["files"][0]["agreement"] >= 0.99999
        output = tmp_path / "figures.json"
        run("benchmark", bundle, "--runs", 2, "--rounds", 2, "-o", output, "--keras", run_path)
        rows = json.loads(output.read_text())["files"]
        assert all(row["cost"]["golden"]["agreement"] > 0.98 for row in rows)


class TestBenchmark:
    def test_figures_page_and_table(self, bundle_path: Path, tmp_path: Path) -> None:
        output, page = tmp_path / "figures.json", tmp_path / "page.html"
        printed = run(
            "benchmark", bundle_path, "--runs", 2, "--rounds", 2, "-o", output, "--html", page
        )
        report = json.loads(output.read_text())
        assert [row["name"] for row in report["files"]] == [
            "model-float32.tflite",
            "model-float16.tflite",
            "model-int8.tflite",
            "model-float32.onnx",
            "model-float16.onnx",
            "model-int8.onnx",
        ]
        for row in report["files"]:
            stages = row["cost"]["stages"]
            assert set(stages) == {"decode", "place", "infer", "mask", "restore", "total"}
            assert 0 < stages["infer"]["min"] <= stages["infer"]["p50"] <= stages["infer"]["p99"]
            assert row["name"] in printed
        assert page.read_text().startswith("<!doctype html>")

    def test_labels_variants_csv_and_markdown(
        self, bundle_path: Path, sample_data: Path, tmp_path: Path
    ) -> None:
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
            for path in sorted((sample_data / folder).iterdir())[:3]:
                (tmp_path / folder / path.name).write_bytes(path.read_bytes())
        next((tmp_path / "masks").iterdir()).unlink()
        output, table = tmp_path / "figures.json", tmp_path / "figures.csv"
        command = (
            "benchmark", bundle_path, "--images", tmp_path / "images", "--labels",
            tmp_path / "masks", "--threads", "1,2", "--backends", "onnxruntime", "--runs", 1,
            "--rounds", 2, "--sustained", 0.02, "-o", output, "--csv", table,
        )  # fmt: skip
        result = CliRunner().invoke(main, [*map(str, command), "--markdown"])
        assert result.exit_code == 0, result.output
        printed = result.output
        assert "| model-int8.onnx (2 threads)" in printed
        assert "left out, without a mask: 1 file" in printed
        assert "- sustained: model-" in printed
        report = json.loads(output.read_text())
        assert [row["variant"] for row in report["files"]] == ["1 thread", "2 threads"] * 3
        mious = [row["cost"]["labels"]["miou"] for row in report["files"]]
        assert all(0.5 < miou < 1 for miou in mious)
        assert len(table.read_text().splitlines()) == 1 + 1 + 6

    def test_the_figures_are_there_if_the_minutes_on_end_are_interrupted(
        self, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(
            "unet_edge.benchmarking.sustained.measure_sustained", interrupted
        )  # the real one is interrupted by a key after minutes
        output = tmp_path / "figures.json"
        command = (
            "benchmark", bundle_path, "--runs", 1, "--rounds", 2, "--sustained", 5, "-o", output,
        )  # fmt: skip
        result = CliRunner().invoke(main, list(map(str, command)))
        assert result.exit_code != 0, result.output
        assert output.exists(), result.output
        report = json.loads(output.read_text())
        assert report["sustained"] is None
        assert len(report["files"]) > 1

    def test_options_that_do_not_fit_are_refused(self, bundle_path: Path, tmp_path: Path) -> None:
        def refusal(*options: object) -> str:
            command = ["benchmark", bundle_path, "-o", tmp_path / "b.json", *options]
            result = CliRunner().invoke(main, list(map(str, command)))
            assert result.exit_code in (1, 2), result.output
            return result.output

        assert "--labels needs --images" in refusal("--labels", tmp_path)
        assert "without --labels" in refusal("--masks", "index")
        assert "exclude each other" in refusal("--json", "--markdown")
        assert "'1,two' is not a number" in refusal("--threads", "1,two")
        assert "'tensorflow' is not one of ai-edge-litert" in refusal("--backends", "tensorflow")
        assert "threads is 999999" in refusal("--threads", "1,999999")
        same = tmp_path / "same"
        assert "are both" in refusal("--html", same, "--csv", same)
        assert not list(tmp_path.iterdir())


class TestTrain:
    @pytest.mark.slow
    def test_the_complete_command(self, sample_data: Path, tmp_path: Path) -> None:
        report = run_json(
            "train", sample_data, "-o", tmp_path / "run", "--classes", "cell,membrane",
            "--size", "32", "--architecture", "unet_mini", "--steps", "4", "--batch-size", "2",
        )  # fmt: skip
        assert report["best_step"] in (1, 2, 3, 4)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
            "config.toml", "curves.png", "history.csv", "last.keras", "model.keras", "result.json",
            "samples", "spec.json", "split.json",
        ]  # fmt: skip
        assert len(list((tmp_path / "run" / "samples").iterdir())) == 5
        mask = Segmenter.open(tmp_path / "run").segment(sample_data / "images" / "cells-000.png")
        assert mask.labels.shape == (192, 192)

    @pytest.mark.slow
    def test_three_classes_on_a_wide_grid(self, tmp_path: Path) -> None:
        """Colours as classes, from training to a mask at the photo's own size."""
        random = np.random.default_rng(0)
        for folder in ("images", "masks"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        colors = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)], np.uint8)
        for index in range(8):
            coarse = random.integers(0, 3, (3, 5)).astype(np.uint8)
            labels = np.kron(coarse, np.ones((20, 20), np.uint8))
            noisy = colors[labels] + random.integers(-30, 30, (*labels.shape, 3))
            name = f"picture {index}.png"
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
                tmp_path / "data" / "images" / name
            )
            Image.fromarray(labels).save(tmp_path / "data" / "masks" / name)
        report = run_json(
            "train", tmp_path / "data", "-o", tmp_path / "run", "--classes", "red,green,blue",
            "--size", "48x96", "--architecture", "unet_mini", "--steps", "20", "--rounds", "2",
            "--batch-size", "4", "--learning-rate", "0.01", "--no-augment",
        )  # fmt: skip
        # A third is chance; the colours are far apart.
        assert report["validation_miou"] > 0.6
        run("export", tmp_path / "run", "--formats", "tflite-float32,onnx-float32")
        bundle = Segmenter.open(tmp_path / "run" / "bundle")
        assert bundle.spec.size == (48, 96)
        photo = tmp_path / "data" / "images" / "picture 0.png"
        labels = bundle.segment(photo).labels
        truth = decode(tmp_path / "data" / "masks" / "picture 0.png")
        assert labels.shape == (60, 100)
        assert (labels == np.asarray(truth)[..., 0]).mean() > 0.7


class TestInterrupt:
    # The demo with a small network and many short rounds, which never ends.
    ENDLESS = """
from unet_edge.cli import main
from unet_edge.demo import pipeline
settings = pipeline.train_settings()
pipeline.train_settings = lambda: f"{settings} --alpha 0.25 --size 64 --steps 24000 --rounds 2000"
main(["demo", "-o", "demo"])
"""

    @pytest.mark.slow
    def test_ctrl_c_ends_the_demo_and_leaves_complete_files(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", self.ENDLESS]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as demo:
            # Until the first round is saved; then in the middle of the next.
            model = tmp_path / "demo" / "run" / "model.keras"
            deadline = time.monotonic() + 300
            while not model.exists() and time.monotonic() < deadline and demo.poll() is None:
                time.sleep(0.2)
            time.sleep(1)
            demo.send_signal(signal.SIGINT)
            out, error = demo.communicate(timeout=60)
        assert demo.returncode == 130, out + error
        assert "interrupted" in error
        assert "unet-edge export" not in out
        files = {path.name for path in (tmp_path / "demo" / "run").iterdir()}
        assert files <= {
            "model.keras", "last.keras", "spec.json", "split.json", "config.toml", "history.csv",
            "curves.png", "progress",
        }  # fmt: skip
        photo = next((tmp_path / "demo" / "data" / "images").glob("*.png"))
        assert Segmenter.open(tmp_path / "demo" / "run").segment(photo).labels.shape == (192, 192)
