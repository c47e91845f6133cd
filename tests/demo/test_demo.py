"""The complete demo, as `make demo` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
# 123 s with two cores of an Intel Xeon with AMX; others are several times slower, and shared.
@pytest.mark.timeout(2700)
def test_every_step_of_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", "demo", "-o", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for command in ("train", "export", "verify", "segment", "benchmark"):
        assert f"$ unet-edge {command} demo/" in done.stdout
    demo = tmp_path / "demo"
    manifest = json.loads((demo / "bundle" / "bundle.json").read_text())
    agreement = {entry["name"]: entry["agreement"] for entry in manifest["files"]}
    assert len(agreement) == 6
    assert agreement["model-float32.tflite"] >= 0.99999
    assert all(entry["agreement"] >= entry["floor"] for entry in manifest["files"])
    # 0.69 is the best that brightness alone gives; measured 0.84.
    assert manifest["reference"]["label_miou"] > 0.8
    report = json.loads((demo / "benchmark.json").read_text())
    # The same Keras in another process: near-ties may flip with the order of sums.
    assert report["keras"]["cost"]["golden"]["agreement"] >= 0.99999
    for name in ("overview.png", "benchmark.html", "run/curves.png"):
        assert (demo / name).stat().st_size > 10_000
    assert len(list((demo / "masks").glob("*.overlay.png"))) == 3
