"""OpenVINO in a virtual environment of its own, because it takes 180 MB (2026.4, x86-64)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from tiny_models import tiny_onnx

from unet_edge.bundle.bundle import Bundle
from unet_edge.evaluation.verification import golden_references
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.runtime.interpreter_probe import TINY
from unet_edge.runtime.interpreters import interpreter_named
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.tuning_cache import TUNING
from unet_edge.spec import ModelSpec

pytestmark = [
    pytest.mark.slow,  # installs a virtual environment, from the index
    pytest.mark.skipif(sys.platform != "linux", reason="the doctor knows of Linux wheels only"),
]

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run Python in an environment with OpenVINO and no other interpreter."""
    folder = tmp_path_factory.mktemp("openvino") / "venv"
    venv.create(folder, with_pip=True)
    needs = ["numpy", "pillow>=9.4", "click>=8.1", "tabulate>=0.9", "tqdm>=4.64"]
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    openvino = interpreter_named("openvino").requirement
    subprocess.run([*pip, "--quiet", openvino, *needs], check=True, capture_output=True)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [folder / "bin" / "python", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder)},
            timeout=60,  # seconds; the longest takes seven
        )

    return run


@pytest.fixture
def unet_edge(python: Python) -> Callable[..., Any]:
    """Run a command with --json and return what it prints."""

    def run(*arguments: object) -> Any:
        done = python("-m", "unet_edge", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# Scores of a file's golden pictures by our backend, in an .npz.
SCORES = """
import sys
import numpy as np
from unet_edge.bundle.bundle import Bundle
from unet_edge.runtime.segmenter import Segmenter
bundle = Bundle.open(sys.argv[1])
segmenter = Segmenter.open(sys.argv[1], file=sys.argv[2], threads=1)
logits = [segmenter.predict(bundle.read_golden(g)[0]).logits for g in bundle.golden]
again = segmenter.predict(bundle.read_golden(bundle.golden[0])[0]).logits
assert np.array_equal(again, logits[0]), "a call does not depend on earlier calls"
assert segmenter.backend.scores(np.zeros((192, 192, 3), np.uint8)).dtype == np.float32
precision = segmenter.backend._request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
np.savez(sys.argv[3], *logits)
print(segmenter.backend.name, precision.to_string(), sep="; ")
"""


@pytest.mark.parametrize("name", ["model-float32.onnx", "model-float16.onnx"])
def test_float_logits_equal_those_of_onnxruntime(
    python: Python, bundle_path: Path, tmp_path: Path, name: str
) -> None:
    done = python("-c", SCORES, bundle_path, name, tmp_path / "scores.npz")
    assert done.returncode == 0, done.stderr
    backend, precision = done.stdout.strip().split("; ")
    assert backend.startswith("openvino 20")
    assert precision == "f32"
    segmenter = Segmenter.open(bundle_path, file=name, backend="onnxruntime", threads=1)
    loaded = np.load(tmp_path / "scores.npz")
    references = golden_references(Bundle.open(bundle_path))
    for logits, golden in zip(loaded.values(), references, strict=True):
        expected = segmenter.predict(golden.picture).logits
        # Only the order of sums may differ: the 1e-3 that converters/test_tflite.py derives. In
        # bfloat16, its default where the processor has it, kernels are rounded to 8 bits.
        assert np.abs(logits - expected).max() <= 1e-3


# The first inferences of four threads that start together and switch often.
TOGETHER = """
import sys
import threading
import numpy as np
from unet_edge.runtime.segmenter import Segmenter
sys.setswitchinterval(1e-6)
segmenters = [
    Segmenter.open(sys.argv[1], file="model-int8.onnx", backend="openvino", threads=1)
    for _ in range(4)
]
spec = segmenters[0].spec
barrier = threading.Barrier(4)
def infer(segmenter):
    barrier.wait()
    segmenter.backend.scores(np.zeros((spec.height, spec.width, 3), np.uint8))
threads = [threading.Thread(target=infer, args=(each,), daemon=True) for each in segmenters]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
    assert not thread.is_alive(), "deadlock"
"""


def test_the_first_inferences_of_several_threads_do_not_deadlock(
    python: Python, bundle_path: Path
) -> None:
    for _ in range(6):  # without the fix 13 of 20 deadlock, and six in a row pass once in 500 times
        done = python("-c", TOGETHER, bundle_path)
        assert done.returncode == 0, done.stderr


def test_every_file_reaches_its_floor(unet_edge: Callable[..., Any], bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    report = unet_edge("verify", bundle_path, "--backend", "openvino")
    assert [entry["file"] for entry in report["files"]] == [
        entry.name for entry in bundle.files if entry.format == "onnx"
    ]
    for entry in report["files"]:
        assert entry["backend"].startswith("openvino 20")
        assert entry["agreement"] >= entry["floor"]
        by_ort = bundle.file(entry["file"]).golden_agreement
        assert by_ort is not None
        # In int8 both round, but not always alike: 0.006 points of pixels on a cats model.
        assert abs(entry["agreement"] - by_ort) <= 1e-3


def test_the_doctor_finds_it_and_runs_the_files_it_reads(
    unet_edge: Callable[..., Any], python: Python, bundle_path: Path, tmp_path: Path
) -> None:
    report = unet_edge("doctor", bundle_path)
    (working,) = [e for e in report["interpreters"] if e["state"] == "works"]
    assert (working["package"], working["version"][:2]) == ("openvino", "20")
    by = {file["name"]: file["runs_by"] for file in report["files"]}
    assert by["model-int8.onnx"] == f"openvino {working['version']}"
    assert by["model-int8.tflite"] is None
    assert "onnxruntime" not in report["fixes"], "one interpreter is enough"
    # Without options, the first file that an interpreter here can run.
    done = python(
        *("-m", "unet_edge", "segment", bundle_path, bundle_path / "golden", "-o", tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert ".onnx" in done.stdout.splitlines()[-1]


def test_tuning_chooses_between_its_files(
    unet_edge: Callable[..., Any], bundle_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_path, folder)
    report = unet_edge("tune", folder, "--runs", 2, "--rounds", 1)
    assert report["chosen"]["backend"] == "openvino"
    assert {t["candidate"]["backend"] for t in report["trials"]} == {"openvino"}
    choice = json.loads((folder / TUNING).read_text())
    assert list(choice["installed"]) == ["openvino"]
    # This process has other interpreters, so the choice does not count.
    assert Segmenter.open(folder).name == Bundle.open(folder).preferred()[0].name


OPEN = """
import sys
from unet_edge.errors import BackendError
from unet_edge.runtime.segmenter import Segmenter
try:
    Segmenter.open(sys.argv[1], backend=sys.argv[2])
except BackendError as error:
    print(error)
"""


def test_a_refused_model_and_an_absent_interpreter_give_one_line(
    python: Python, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(tiny_onnx())
    model.graph.node[0].op_type = "Nonesuch"
    spec = ModelSpec(4, 6, ("a", "b", "c"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(seal(model.SerializeToString(), Contract(spec, "onnx", "float32")))
    message = python("-c", OPEN, broken, "openvino").stdout.strip()
    assert message.startswith("openvino 20")
    assert "cannot run this model: " in message
    assert "\n" not in message
    message = python("-c", OPEN, TINY / "float32.onnx", "onnxruntime").stdout.strip()
    assert message.startswith("no ONNX interpreter works here: onnxruntime is not installed; run: ")
