"""Checkups with real interpreters, and with ones that crash, hang, miscompute or do not start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT, SMALL_BUNDLE
from tiny_models import tiny_onnx

from unet_edge.bundle.manifest import MANIFEST
from unet_edge.doctor.checkup import _bundle, check_machine
from unet_edge.errors import BackendError, BundleError, ModelFileError
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.runtime.interpreter_probe import TINY, probe
from unet_edge.runtime.interpreter_problems import NoInterpreterError, not_run_lines
from unet_edge.runtime.interpreters import Attempt, install_command, interpreter_named
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec, Normalisation

ONNX = interpreter_named("onnxruntime")

# The part of ONNX Runtime that our backend uses: class 1 where red is more than blue. ACT runs when
# a model is opened, START when the package is imported.
STAND_IN = """
import os, resource, signal, time
import numpy as np

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

__version__ = "9.9.9"
START

class SessionOptions:
    def add_session_config_entry(self, key, value):
        pass

class TensorInfo:
    name = "pixels"

class InferenceSession:
    def __init__(self, model, options, providers):
        ACT

    def get_inputs(self):
        return [TensorInfo]

    def run(self, outputs, feed):
        return [feed["pixels"][..., ::-2].astype(np.float32)]
"""

StandIn = Callable[..., None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put a fake package onnxruntime first on the path, also for child processes."""

    def make(act: str = "pass", start: str = "") -> None:
        (tmp_path / "path" / "onnxruntime").mkdir(parents=True)
        source = STAND_IN.replace("ACT", act).replace("START", start)
        (tmp_path / "path" / "onnxruntime" / "__init__.py").write_text(source)
        info = tmp_path / "path" / "onnxruntime-9.9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 9.9.9\n")
        monkeypatch.syspath_prepend(tmp_path / "path")

    return make


def onnx_file(folder: Path, name: str) -> Path:
    path = folder / f"{name}.onnx"
    spec = ModelSpec(4, 6, ("a", "b", "c"), name=name)
    path.write_bytes(seal(tiny_onnx(), Contract(spec, "onnx", "float32")))
    return path


# --- interpreters -----------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["ai-edge-litert", "onnxruntime"])
def test_the_real_interpreters_work(package: str) -> None:
    interpreter = interpreter_named(package)
    file = TINY / f"int8.{interpreter.format}"
    result = probe(interpreter, [file])
    assert (result.attempt.state, result.attempt.detail) == ("works", "")
    assert result.attempt.version
    assert result.files == {file: None}


def test_the_stand_in_works_by_default(stand_in: StandIn) -> None:
    stand_in()
    result = probe(ONNX)
    assert (result.attempt.name, result.attempt.state) == ("onnxruntime 9.9.9", "works")


def test_an_interpreter_that_uses_an_illegal_instruction(stand_in: StandIn) -> None:
    stand_in("os.kill(os.getpid(), signal.SIGILL)")
    attempt = probe(ONNX).attempt
    assert (attempt.name, attempt.state) == ("onnxruntime 9.9.9", "died")
    assert attempt.signal == "SIGILL"
    assert attempt.detail.startswith("died with signal SIGILL: it uses an instruction that ")


def test_an_interpreter_that_hangs_in_c_code(stand_in: StandIn) -> None:
    # While C code runs, Python handles no signal. This blocks the signal to the same effect.
    stand_in("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); time.sleep(600)")
    attempt = probe(ONNX, timeout=1).attempt
    assert (attempt.state, attempt.detail) == ("hung", "gave no answer within 1 s")


def test_an_interpreter_that_hangs_and_ignores_the_alarm(stand_in: StandIn) -> None:
    stand_in("signal.signal(signal.SIGALRM, signal.SIG_IGN); time.sleep(600)")
    assert probe(ONNX, timeout=1).attempt.state == "hung"


def test_an_interpreter_that_miscomputes(stand_in: StandIn) -> None:
    stand_in("InferenceSession.run = lambda self, _, feed: [feed['pixels'][..., ::2] * 1.0]")
    attempt = probe(ONNX).attempt
    assert attempt.state == "broken"
    assert "computes float32.onnx wrongly" in attempt.detail


def test_an_interpreter_that_does_not_start(stand_in: StandIn) -> None:
    stand_in(start="raise ImportError('libstdc++.so.6: cannot open shared object file')")
    checkup = check_machine()
    assert checkup.troubles["onnxruntime"].endswith(
        "(libstdc++.so.6: cannot open shared object file)"
    )
    assert checkup.fixes["onnxruntime"].startswith("pip install --force-reinstall 'onnxruntime")
    assert checkup.ready, "LiteRT is here"


def test_a_file_that_crashes_the_interpreter_does_not_hide_the_others(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in("if b'deadly' in model: os.kill(os.getpid(), signal.SIGSEGV)")
    files = [onnx_file(tmp_path, name) for name in ("first", "deadly", "last")]
    result = probe(ONNX, files)
    assert result.attempt.state == "works"
    assert result.files == {
        files[0]: None,
        files[1]: "onnxruntime 9.9.9 died with signal SIGSEGV",
        files[2]: None,
    }


# --- files, and the same messages when they are opened ----------------------------------------


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_an_operator_that_is_too_new(
    tflite: Callable[..., bytes], tmp_path: Path, file_format: str
) -> None:
    path = tmp_path / f"new.{file_format}"
    classes = ("a", "b", "c")
    if file_format == "tflite":
        spec = ModelSpec(2, 2, classes, normalisation=Normalisation(7, 2))
        path.write_bytes(seal(tflite(("CONV_2D", 99)), Contract(spec, "tflite", "int8")))
        expected = "it needs CONV_2D version 99 (ai-edge-litert 2.3 has up to 8); no runtime is"
    else:
        onnx = pytest.importorskip("onnx")
        model = onnx.load_from_string(tiny_onnx())
        model.opset_import[0].version = 99
        data = model.SerializeToString(deterministic=True)
        path.write_bytes(seal(data, Contract(ModelSpec(4, 6, classes), "onnx", "float32")))
        expected = "no runtime is known to run "
    checkup = check_machine(path)
    (verdict,) = checkup.files
    assert verdict.runs_by is None
    assert not checkup.ready
    assert verdict.reason is not None
    assert expected in verdict.reason
    assert "'unet-edge export'" in verdict.reason
    with pytest.raises(BackendError) as raised:
        Segmenter.open(path)
    assert str(raised.value) == verdict.reason


def test_the_reason_names_a_damaged_file(tmp_path: Path) -> None:
    data = bytearray((TINY / "int8.tflite").read_bytes())
    data[500] ^= 1
    (tmp_path / "int8.tflite").write_bytes(data)
    checkup = check_machine(tmp_path / "int8.tflite")
    assert not checkup.ready
    assert checkup.files[0].reason is not None
    assert "is damaged" in checkup.files[0].reason
    with pytest.raises(ModelFileError, match="no such model file"):
        check_machine(tmp_path / "absent.tflite")
    with pytest.raises(BundleError, match=rf"^{tmp_path} is not a bundle"):
        check_machine(tmp_path)


def test_a_named_bundle_goes_before_one_inside_it(tmp_path: Path) -> None:
    outer = Path(shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle"))
    shutil.copytree(SMALL_BUNDLE, outer / "bundle")
    found = _bundle(outer)
    assert found is not None
    assert found.path == outer
    (outer / MANIFEST).unlink()  # as a run
    found = _bundle(outer)
    assert found is not None
    assert found.path == outer / "bundle"


INSTALLED = ("ai_edge_litert", "tflite_runtime", "onnxruntime")


def doctor(
    path: list[Path], *arguments: object, blocked: tuple[str, ...] = INSTALLED
) -> tuple[int, str, str]:
    """Run a command with these folders on the path and installed interpreters blocked."""
    block = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {blocked}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    path[0].mkdir(exist_ok=True)
    (path[0] / "sitecustomize.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "unet_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))},
    )
    return done.returncode, done.stdout, done.stderr


def test_without_an_interpreter_doctor_and_segment_give_the_same_message(tmp_path: Path) -> None:
    path = [tmp_path / "site"]
    status, out, _ = doctor(path, "doctor", TINY / "int8.tflite", "--json")
    assert status == 1
    report: dict[str, Any] = json.loads(out)
    assert report["ready"] is False
    assert {attempt["state"] for attempt in report["interpreters"]} == {"absent"}
    (file,) = report["files"]
    assert "run: pip install " in file["reason"]
    status, _, error = doctor(path, "segment", TINY / "int8.tflite", ROOT / "docs")
    assert status == 1
    assert "no pictures" in error  # before the model is opened
    photo = ROOT / "docs" / "pictures" / "overview.png"
    status, _, error = doctor(path, "segment", TINY / "int8.tflite", photo, "-o", tmp_path / "out")
    assert (status, error.strip()) == (1, f"error: {file['reason']}")


def test_an_interpreter_that_other_files_do_not_need_is_optional(
    bundle_path: Path, tmp_path: Path
) -> None:
    path, blocked = [tmp_path / "site"], ("onnxruntime", "openvino")
    names = ["model-float32.onnx", "model-float16.onnx", "model-int8.onnx"]
    line = (
        "3 .onnx files not run: no ONNX interpreter is installed "
        f"(optional: {install_command(interpreter_named('onnxruntime'))})"
    )
    status, out, _ = doctor(path, "verify", bundle_path, blocked=blocked)
    assert status == 0
    assert line in out.splitlines()
    assert out.count("not run") == 1
    _, out, _ = doctor(path, "verify", bundle_path, "--json", blocked=blocked)
    assert set(json.loads(out)["not_run"]) == set(names)
    assert all(
        reason.startswith("no ONNX interpreter works here: onnxruntime is not installed; ")
        for reason in json.loads(out)["not_run"].values()
    )
    status, out, _ = doctor(path, "doctor", bundle_path, blocked=blocked)
    lines = out.splitlines()
    assert status == 0
    assert line in lines
    assert lines[-1] == "3 of 6 files run here"
    assert "NOTHING" not in out
    for name in names:
        assert f"{name:20}  no interpreter (optional)" in lines


def test_files_that_fail_for_one_reason_share_a_line() -> None:
    broken = BackendError("onnxruntime 1.9 cannot run this model", fix="run: pip")
    assert not_run_lines({"a.onnx": broken, "b.onnx": BackendError("other"), "c.onnx": broken}) == [
        "a.onnx, c.onnx not run: onnxruntime 1.9 cannot run this model; run: pip",
        "b.onnx not run: other",
    ]
    dead = Attempt("onnxruntime", "1.21.0", "died", "died with signal SIGILL", "SIGILL")
    (line,) = not_run_lines({"a.onnx": NoInterpreterError("onnx", [dead])})
    assert line.startswith(
        "a.onnx not run: no ONNX interpreter works here: onnxruntime 1.21.0 died"
    )


def test_the_last_line_says_how_many_files_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", "doctor", str(TINY / "float32.onnx")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 of 1 file runs here\n")
    assert "trying" in done.stderr
    assert "trying" not in done.stdout


def test_a_command_that_crashes_while_it_opens_a_model_prints_the_checkup(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in("os.kill(os.getpid(), signal.SIGILL)")
    photo = ROOT / "docs" / "pictures" / "overview.png"
    command = ["segment", TINY / "float32.onnx", photo, "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "unet_edge", *map(str, command)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), str(ROOT)])},
    )
    assert done.returncode == -signal.SIGILL
    assert done.stdout == ""
    assert "'unet-edge doctor' reports" in done.stderr
    assert "onnxruntime 9.9.9 died with signal SIGILL: it uses an instruction" in done.stderr
    assert "Traceback" not in done.stderr
