"""The doctor in virtual environments with faults: its fix is run, and must help."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.runtime.interpreter_probe import TINY
from unet_edge.spec import ModelSpec, Normalisation

NEEDS = ("pillow>=9.4", "click>=8.1", "tabulate>=0.9", "tqdm>=4.64")

pytestmark = [
    pytest.mark.slow,  # installs virtual environments, from the index
    pytest.mark.skipif(sys.platform != "linux", reason="the interpreters' wheels are for Linux"),
]


class Environment:
    """A virtual environment with this checkout on its path, without an installed unet-edge."""

    def __init__(self, folder: Path, *packages: str, python: str | None = None) -> None:
        if python is None:
            venv.create(folder, with_pip=True)
        else:
            subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
        self.bin = folder / "bin"
        self.do(f"pip install {shlex.join([*NEEDS, *packages])}")

    def do(self, command: str) -> None:
        """Run a command in the activated environment."""
        path = os.pathsep.join((str(self.bin), os.environ["PATH"]))
        environment = {**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr

    def unet_edge(self, *arguments: object) -> tuple[int, str, str]:
        """Run the command; return its exit status, output and errors."""
        done = subprocess.run(
            [self.bin / "python", "-m", "unet_edge", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return done.returncode, done.stdout, done.stderr

    def doctor(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Run the doctor; return its exit status and report."""
        status, out, _ = self.unet_edge("doctor", *arguments, "--json")
        return status, json.loads(out)


OLD = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tflite-runtime has wheels for Python 3.11 and older only"
)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("numpy-2") / "venv"
    return Environment(folder, "tflite-runtime==2.14.0", "numpy>=2")


@OLD
def test_numpy_2_is_found_and_the_fix_helps(old: Environment, tmp_path: Path) -> None:
    file = TINY / "int8.tflite"
    status, report = old.doctor(file)
    assert status == 1
    trouble = report["troubles"]["tflite-runtime"]
    assert trouble.startswith("tflite-runtime 2.14.0 does not work with NumPy 2.")
    photo = ROOT / "docs" / "pictures" / "overview.png"
    opened = old.unet_edge("segment", file, photo, "-o", tmp_path)
    assert opened[0] == 1
    assert opened[2].strip() == f"error: {report['files'][0]['reason']}"
    assert report["fixes"]["tflite-runtime"] == "pip install 'numpy<2'"
    old.do(report["fixes"]["tflite-runtime"])
    status, report = old.doctor(file)
    assert (status, report["files"][0]["runs_by"]) == (0, "tflite-runtime 2.14.0")
    assert old.unet_edge("segment", file, photo, "-o", tmp_path)[0] == 0


@OLD
def test_an_operator_that_is_newer_than_the_interpreter(
    old: Environment, tmp_path: Path, tflite: Callable[..., bytes]
) -> None:
    old.do("pip install 'numpy<2'")
    file = tmp_path / "new.tflite"
    spec = ModelSpec(2, 2, ("a", "b", "c"), normalisation=Normalisation(7, 2))
    file.write_bytes(seal(tflite(("QUANTIZE", 6)), Contract(spec, "tflite", "float32")))
    status, report = old.doctor(file)
    assert status == 1
    assert report["files"][0]["reason"] == (
        "tflite-runtime 2.14.0 cannot run this model: it needs QUANTIZE version 6 "
        "(tflite-runtime 2.14 has up to 3); "
        "run: pip install --upgrade 'ai-edge-litert>=2.3,!=2.0.*'"
    )


def test_python_3_13_without_an_interpreter(tmp_path: Path) -> None:
    python = sys.executable if sys.version_info[:2] == (3, 13) else shutil.which("python3.13")
    if not python or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip("there is no Python 3.13 here (python3.13)")
    fresh = Environment(tmp_path / "venv", "numpy", python=python)
    file = TINY / "int8.tflite"
    status, report = fresh.doctor(file)
    assert status == 1
    assert report["files"][0]["reason"].endswith(
        "tflite-runtime is not installed, and has no wheel for Python 3.13 (3.11 is its last); "
        f"run: {report['fixes']['ai-edge-litert']}"
    )
    # pip finds no wheel either, and can install what the fix names.
    with pytest.raises(AssertionError, match="No matching distribution"):
        fresh.do("pip install tflite-runtime")
    fresh.do(report["fixes"]["ai-edge-litert"])
    status, report = fresh.doctor(file)
    assert status == 0
    assert report["files"][0]["runs_by"].startswith("ai-edge-litert 2.")
