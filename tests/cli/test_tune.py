"""`unet-edge tune` on a real bundle, and the commands that use or show its choice."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from sealing import seal_manifest

from unet_edge.bundle.manifest import MANIFEST
from unet_edge.cli import main
from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime import bundle_opening
from unet_edge.runtime.backends.backend import Backend
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.tuning_cache import TUNING
from unet_edge.system.board import read_processor


@pytest.fixture(scope="module")
def copy(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "bundle"
    shutil.copytree(bundle_path, folder)
    return folder


@pytest.fixture(scope="module")
def tuned(copy: Path) -> str:
    """What the command printed."""
    return run("tune", copy, "--runs", 2, "--rounds", 1, "--threads", 1)


@pytest.fixture(scope="module")
def choice(copy: Path, tuned: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((copy / TUNING).read_text())
    return data


def test_the_table_says_what_was_chosen_and_why_others_are_out(
    copy: Path, tuned: str, choice: dict[str, Any]
) -> None:
    lines = tuned.splitlines()
    (row,) = [line for line in lines if line.endswith("  chosen")]
    assert row.split()[0] == choice["file"]
    assert " ".join(row.split()[1:4]) == f"{choice['interpreter']} {choice['threads']}"
    threads = "1 thread" if choice["threads"] == 1 else f"{choice['threads']} threads"
    described = f"{choice['file']} by {choice['interpreter']} on {threads}"
    assert lines[-1] == f"chosen: {described}; written to {copy / TUNING}"
    assert "not tried: tflite-runtime is not installed" in tuned
    for entry in choice["measured"]:
        assert any(entry["file"] in line and (entry["out"] or "") in line for line in lines)


def test_a_file_under_its_floor_at_export_is_named_with_the_reason(
    bundle_path: Path, tmp_path: Path
) -> None:
    folder, name = tmp_path / "bundle", "model-int8.tflite"
    shutil.copytree(bundle_path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    by_name = {entry["name"]: entry for entry in manifest["files"]}
    by_name[name]["agreement"] = 0.98
    manifest["files"] = [by_name["model-float32.tflite"], by_name[name]]
    # On another kind of processor the file would be tried.
    manifest["processor"] = dataclasses.asdict(read_processor())
    seal_manifest(folder, manifest)
    reason = f"under its floor at export on {read_processor()}: 98.000 %, floor 99.500 %"
    tuning = ("tune", folder, "--runs", 1, "--rounds", 1, "--threads", 1)
    assert f"not tried: {name} is {reason}" in run(*tuning).splitlines()
    report = run_json(*tuning)
    assert report["excluded"] == {name: reason}
    assert name not in report["missing"]

    manifest["files"] = [by_name[name]]
    seal_manifest(folder, manifest)
    (folder / TUNING).unlink()
    assert refused(*tuning).splitlines()[-1] == (
        f"error: no file of {folder} is tried: {name} is {reason}; on the workstation, train "
        "longer, or export within a budget: 'unet-edge export RUN --min-agreement SHARE'"
    )


def test_segment_and_the_others_then_use_it(
    copy: Path, choice: dict[str, Any], sample_data: Path, tmp_path: Path
) -> None:
    segmenter = Segmenter.open(copy)
    assert (segmenter.name, segmenter.backend.name) == (choice["file"], choice["interpreter"])
    photo = sample_data / "images" / "cells-017.png"
    assert f"by {choice['file']}" in run("segment", copy, photo, "-o", tmp_path / "out")
    line = f"tuned on {choice['date'][:10]}: {choice['file']} by {choice['interpreter']} on "
    assert line in run("doctor", copy)
    assert line in run("inspect", copy)
    assert json.loads(run("doctor", copy, "--json"))["tuning"].startswith(line)
    assert json.loads(run("inspect", copy, "--json"))["tuning"].startswith(line)


def test_the_tuned_number_of_threads_is_used_where_the_help_says_so(
    copy: Path, tuned: str, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int | None] = []

    def recorded(model: bytes, file_format: Format, threads: int | None, *rest: Any) -> Backend:
        used.append(threads)
        return open_backend(model, file_format, threads, *rest)

    monkeypatch.setattr(bundle_opening, "open_backend", recorded)

    def threads_of(*arguments: object) -> set[int | None]:
        used.clear()
        run(*arguments)
        return set(used)

    photo, out = sample_data / "images" / "cells-017.png", tmp_path / "out"
    file = ("--file", "model-float32.tflite")
    evaluated = ("evaluate", copy, "--data", sample_data)
    assert threads_of("segment", copy, photo, "-o", out) == {1}  # tuned with --threads 1
    assert threads_of("segment", copy, photo, "-o", out, "--again", *file) == {None}
    assert threads_of(*evaluated) == {1}
    assert threads_of(*evaluated, *file) == {None}
    assert threads_of("verify", copy) == {None}


def test_evaluate_and_verify_say_which_file_and_interpreter_they_took(
    copy: Path, choice: dict[str, Any], bundle_path: Path, sample_data: Path, tmp_path: Path
) -> None:
    file, folder = "model-float16.onnx", tmp_path / "bundle"  # the last that would be taken untuned
    shutil.copytree(copy, folder)
    by = Segmenter.open(copy, file=file).backend.name
    other = choice | {"file": file, "backend": "onnxruntime", "interpreter": by}
    (folder / TUNING).write_text(json.dumps(other))

    evaluated = ("evaluate", folder, "--data", sample_data)
    report = run_json(*evaluated)
    assert (report["model"], report["backend"]) == (file, by)
    assert f"{file} run by {by}" in run(*evaluated).splitlines()

    photo = sample_data / "images" / "cells-017.png"
    # Each file against itself: all pixels agree.
    verified = ("verify", bundle_path, "--images", photo, "--file")
    against = ("--against", folder)
    assert run_json(*verified, file, *against)["reference"] == {"file": file, "backend": by}
    assert f"reference: {file} run by {by}" in run(*verified, file, *against).splitlines()
    own = "model-float32.tflite"  # the reference without --against
    assert run_json(*verified, own)["reference"]["file"] == own


def test_without_a_choice_doctor_and_inspect_name_the_command(bundle_path: Path) -> None:
    line = f"not tuned on this machine: 'unet-edge tune {bundle_path}' finds the fastest"
    assert line in run("doctor", bundle_path)
    assert line in run("inspect", bundle_path)


def test_json_has_everything_and_forget_deletes_it(bundle_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_path, folder)
    report = json.loads(run("tune", folder, "--runs", 1, "--rounds", 1, "--threads", 1, "--json"))
    written = Path(report["written"])
    assert written == folder / TUNING
    assert report["chosen"]["threads"] == 1
    assert json.loads(written.read_text())["interpreter"] == report["interpreter"]
    assert {t["candidate"]["threads"] for t in report["trials"]} == {1}
    assert run("tune", folder, "--forget") == f"deleted {written}\n"
    assert not written.exists()
    assert json.loads(run("tune", folder, "--forget", "--json")) == {"deleted": []}


def test_the_backend_can_be_named_everywhere(
    bundle_path: Path, sample_data: Path, tmp_path: Path
) -> None:
    report = json.loads(run("verify", bundle_path, "--backend", "onnxruntime", "--json"))
    assert {entry["file"].rpartition(".")[2] for entry in report["files"]} == {"onnx"}
    assert all(entry["backend"].startswith("onnxruntime ") for entry in report["files"])
    assert report["not_run"] == {}
    photo = sample_data / "images" / "cells-017.png"
    backend = ("--backend", "onnxruntime")
    printed = run("segment", bundle_path, photo, "-o", tmp_path / "out", *backend)
    assert ".onnx" in printed.splitlines()[-1]
    measured = ("benchmark", bundle_path, "--rounds", 2, "-o", tmp_path / "b.json", "--threads", 1)
    rows = json.loads(run(*measured, *backend, "--json"))["files"]
    assert {row["cost"]["backend"].partition(" ")[0] for row in rows} == {"onnxruntime"}
    wrong = CliRunner().invoke(
        main, ["verify", str(bundle_path), "--file", "model-float32.tflite", *backend]
    )
    assert wrong.exit_code == 1
    assert "onnxruntime reads .onnx files, but this is a .tflite file" in wrong.output


@pytest.mark.slow
def test_ctrl_c_leaves_the_old_choice(bundle_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_path, folder)
    (folder / TUNING).write_text("the old choice")
    before = sorted(folder.rglob("*"))
    tuning = subprocess.Popen(
        [sys.executable, "-m", "unet_edge", "tune", str(folder), "--runs", "100000"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert tuning.stderr is not None
    try:
        for line in tuning.stderr:
            if line.startswith("measuring "):
                break
        time.sleep(1)  # a child is at work
        tuning.send_signal(signal.SIGINT)
        _, log = tuning.communicate(timeout=60)
    finally:
        tuning.kill()
    assert tuning.returncode == 130
    assert "interrupted" in log
    assert "Traceback" not in log
    assert (folder / TUNING).read_text() == "the old choice"
    assert sorted(folder.rglob("*")) == before
