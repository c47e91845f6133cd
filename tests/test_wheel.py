"""The wheel: its contents, and the device commands with only its dependencies."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from paths import ROOT

pytestmark = pytest.mark.slow  # builds a wheel and two virtual environments, from the index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "unet_edge", "converters"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert names == set(tracked)
    assert "unet_edge/py.typed" in names


def test_the_sdist_is_publishable_and_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--outdir", tmp_path]
    subprocess.run([*build, "--sdist", ROOT], check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", sdist, wheel],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    subprocess.run([*build, "--wheel", source], check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(again) as ours, zipfile.ZipFile(wheel) as theirs:
        assert ours.namelist() == theirs.namelist()
        assert {name: ours.read(name) for name in ours.namelist()} == {
            name: theirs.read(name) for name in theirs.namelist()
        }
        assert all(ours.read(name) == theirs.read(name) for name in ours.namelist())


@pytest.mark.parametrize("extra", ["", "litert", "tflite", "onnx", "openvino", "train", "export"])
def test_an_older_python_needs_no_package(wheel: Path, extra: str) -> None:
    """Then pip says at once that Python is too old, without trying versions of packages."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    needs = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert metadata["Requires-Python"] == ">=3.11"
    for python, asked in (("3.10", False), ("3.11", True)):
        found = [
            need
            for need in needs
            if need.marker is None
            or need.marker.evaluate({"extra": extra, "python_version": python})
        ]
        assert bool(found) == asked


@pytest.mark.parametrize(
    ("extra", "file", "missing"),
    [
        ("litert", "model-float16.tflite", "model-float32.onnx"),
        ("onnx", "model-float32.onnx", "model-float16.tflite"),
    ],
)
def test_device_commands_with_only_one_interpreter(
    wheel: Path, bundle_path: Path, sample_data: Path, tmp_path: Path,
    extra: str, file: str, missing: str,
) -> None:  # fmt: skip
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{wheel}[{extra}]"], check=True, capture_output=True)

    def run(*arguments: object, status: int = 0) -> str:
        command = [tmp_path / "venv" / "bin" / "unet-edge", *map(str, arguments)]
        # Without PYTHONPATH, which may lead to packages outside the environment.
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=alone)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    absent = "import importlib.util as u; print([m for m in {} if u.find_spec(m)])"
    heavy = ["tensorflow", "keras", "onnx", "tf2onnx", "matplotlib", "h5py"]
    found = subprocess.run(
        [python, "-c", absent.format(heavy)], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]", "a heavy package leaked into the device install"

    photo = sample_data / "images" / "cells-000.png"
    assert "1 of 1 picture in" in run("segment", bundle_path, photo, "-o", tmp_path / "masks")
    assert (tmp_path / "masks" / "cells-000.overlay.png").is_file()
    assert file in run("inspect", bundle_path)
    assert "ok" in run("verify", bundle_path, "--file", file)
    refused = run("verify", bundle_path, "--file", missing, status=1)
    other = {"litert": "onnx", "onnx": "litert"}[extra]
    assert f"run: pip install 'unet-edge[{other}]'" in refused
    assert " of 6 files run here" in run("doctor", bundle_path)
