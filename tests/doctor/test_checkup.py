"""Diagnoses with real interpreters, and with stand-ins that die, hang, lie or do not start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from tiny_models import tiny_onnx

from unet_edge.doctor.checkup import check_machine
from unet_edge.errors import BackendError, ModelFileError
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.runtime.interpreter_probe import TINY, probe
from unet_edge.runtime.interpreters import interpreter_named
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec, Normalisation

ONNX = interpreter_named("onnxruntime")

# ONNX Runtime as far as our backend goes: class 1 where red is more than blue. ACT is what it
# does when it opens a model, START when it is imported.
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
    """Puts a package called onnxruntime first on the path, of children too."""

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
def test_the_real_ones_work(package: str) -> None:
    known = interpreter_named(package)
    file = TINY / f"int8.{known.format}"
    found = probe(known, [file])
    assert (found.attempt.state, found.attempt.detail) == ("works", "")
    assert found.attempt.version
    assert found.files == {file: None}


def test_the_stand_in_works_so_that_what_it_does_is_what_is_found(stand_in: StandIn) -> None:
    stand_in()
    found = probe(ONNX)
    assert (found.attempt.name, found.attempt.state) == ("onnxruntime 9.9.9", "works")


def test_one_that_is_killed_by_an_illegal_instruction(stand_in: StandIn) -> None:
    stand_in("os.kill(os.getpid(), signal.SIGILL)")
    attempt = probe(ONNX).attempt
    assert (attempt.name, attempt.state) == ("onnxruntime 9.9.9", "died")
    assert attempt.detail.startswith("died with signal SIGILL: it uses an instruction that ")


def test_one_that_hangs_where_python_hears_of_no_signal(stand_in: StandIn) -> None:
    # All signals that Python itself would act upon wait while C code runs; so does this.
    stand_in("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); time.sleep(600)")
    attempt = probe(ONNX, timeout=1).attempt
    assert (attempt.state, attempt.detail) == ("hung", "gave no answer within 1 s")


def test_one_that_hangs_and_does_not_even_heed_the_clock(stand_in: StandIn) -> None:
    stand_in("signal.signal(signal.SIGALRM, signal.SIG_IGN); time.sleep(600)")
    assert probe(ONNX, timeout=1).attempt.state == "hung"


def test_one_that_computes_wrongly(stand_in: StandIn) -> None:
    stand_in("InferenceSession.run = lambda self, _, feed: [feed['pixels'][..., ::2] * 1.0]")
    attempt = probe(ONNX).attempt
    assert attempt.state == "broken"
    assert "computes float32.onnx wrongly" in attempt.detail


def test_one_that_does_not_start(stand_in: StandIn) -> None:
    stand_in(start="raise ImportError('libstdc++.so.6: cannot open shared object file')")
    found = check_machine()
    assert found.troubles["onnxruntime"].endswith(
        "(libstdc++.so.6: cannot open shared object file)"
    )
    assert found.fixes["onnxruntime"].startswith("pip install --force-reinstall 'onnxruntime")
    assert found.ready, "LiteRT is here"


def test_a_file_that_kills_the_interpreter_does_not_hide_the_others(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in("if b'deadly' in model: os.kill(os.getpid(), signal.SIGSEGV)")
    files = [onnx_file(tmp_path, name) for name in ("first", "deadly", "last")]
    found = probe(ONNX, files)
    assert found.attempt.state == "works"
    assert found.files == {
        files[0]: None,
        files[1]: "onnxruntime 9.9.9 died with signal SIGSEGV",
        files[2]: None,
    }


# --- files, and the same words when they are opened -------------------------------------------


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
    found = check_machine(path)
    (verdict,) = found.files
    assert verdict.runs_by is None
    assert not found.ready
    assert verdict.reason is not None
    assert expected in verdict.reason
    assert "'unet-edge export'" in verdict.reason
    with pytest.raises(BackendError) as raised:
        Segmenter.open(path)
    assert str(raised.value) == verdict.reason


def test_a_damaged_file_is_named_as_such(tmp_path: Path) -> None:
    data = bytearray((TINY / "int8.tflite").read_bytes())
    data[500] ^= 1
    (tmp_path / "int8.tflite").write_bytes(data)
    found = check_machine(tmp_path / "int8.tflite")
    assert not found.ready
    assert found.files[0].reason is not None
    assert "is damaged" in found.files[0].reason
    with pytest.raises(ModelFileError, match="no such model file"):
        check_machine(tmp_path / "absent.tflite")


def doctor(path: list[Path], *arguments: object) -> tuple[int, str, str]:
    """The command in a Python that sees these folders and no installed interpreter but theirs."""
    block = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('ai_edge_litert', 'tflite_runtime', 'onnxruntime'):\n"
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


def test_without_any_interpreter_doctor_and_segment_say_the_same(tmp_path: Path) -> None:
    path = [tmp_path / "site"]
    status, out, _ = doctor(path, "doctor", TINY / "int8.tflite", "--json")
    assert status == 1
    report: dict[str, Any] = json.loads(out)
    assert report["ready"] is False
    assert {one["state"] for one in report["interpreters"]} == {"absent"}
    (file,) = report["files"]
    assert "run: pip install " in file["reason"]
    status, _, error = doctor(path, "segment", TINY / "int8.tflite", ROOT / "docs")
    assert status == 1
    assert "no pictures" in error  # before the model is opened
    photo = ROOT / "docs" / "pictures" / "overview.png"
    status, _, error = doctor(path, "segment", TINY / "int8.tflite", photo, "-o", tmp_path / "out")
    assert (status, error.strip()) == (1, f"error: {file['reason']}")


def test_the_command_prints_what_runs_and_ends_with_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", "doctor", str(TINY / "float32.onnx")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 of 1 files run here\n")
    assert "trying" in done.stderr
    assert "trying" not in done.stdout


def test_a_command_that_dies_while_it_opens_a_model_says_why(
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
