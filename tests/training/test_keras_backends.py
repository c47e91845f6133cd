"""The same run on TensorFlow, JAX and PyTorch, and shared by two processes."""

from __future__ import annotations

import csv
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT, SUPPORT

PROBE = SUPPORT / "backend_probe.py"

pytestmark = pytest.mark.slow


def environment(backend: str) -> dict[str, str]:
    # From the checkout, wherever the probe is started from.
    return os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}


def probe(backend: str, run: Path, out: Path) -> dict[str, np.ndarray]:
    done = subprocess.run(
        [sys.executable, str(PROBE), str(run), str(out)],
        env=environment(backend),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as data:
        found = dict(data)
    assert str(found["backend"]) == backend
    return found


@pytest.fixture(scope="module")
def on_tensorflow(
    run_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    return probe("tensorflow", run_path, tmp_path_factory.mktemp("probe") / "tensorflow.npz")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_logits_and_training_steps_agree(
    backend: str, run_path: Path, on_tensorflow: dict[str, np.ndarray], tmp_path: Path
) -> None:
    if backend == "torch" and importlib.util.find_spec(backend) is None:
        pytest.skip("PyTorch is not installed ('make test-torch' installs PyTorch)")
    found = probe(backend, run_path, tmp_path / "found.npz")
    # float32 has 2^-24 a rounding; a logit is a sum of about 10^3 terms through 40 layers, and
    # logits reach 10: 10 * 40 * sqrt(1000) * 2^-24 = 8e-4 if every layer's error grew no further.
    expected = on_tensorflow["logits"]
    assert np.abs(found["logits"] - expected).max() < 1e-3
    assert (found["logits"].argmax(-1) == expected.argmax(-1)).mean() > 0.9999
    # Means of such logits; the second one is after a step.
    np.testing.assert_allclose(found["losses"], on_tensorflow["losses"], rtol=1e-4)
    # The step itself. BatchNorm's gradients are differences of nearly equal sums, which costs
    # digits: measured 6e-4 on JAX. One layer's wrong gradient would be of the order of 1.
    moved = on_tensorflow["moved"]
    assert np.linalg.norm(found["moved"] - moved) < 5e-3 * np.linalg.norm(moved)
    assert np.abs(moved).max() > 1e-3  # it did move


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


def train_command(data: Path, output: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "unet_edge", "train", str(data), "-o", str(output)),
        # Not MobileNet: its 31 BatchNorms, 2x2 px at the deepest, magnify what rounding leaves,
        # from 2e-5 of the second loss to 6e-4, depending on the crops that were drawn.
        *("--classes", "cell,membrane", "--size", "32", "--architecture", "unet_mini"),
        *("--steps", "2", "--rounds", "2", "--batch-size", "4"),
        *("--optimizer", "sgd", "--learning-rate", "0.01", *more),
    ]


def test_two_processes_give_the_result_of_one(sample_data: Path, tmp_path: Path) -> None:
    alone = subprocess.run(
        train_command(sample_data, tmp_path / "one"),
        env=environment("jax"),
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 0, alone.stderr[-3000:]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    shared = ["--coordinator", address, "--processes", "2"]
    both = [
        subprocess.Popen(
            train_command(sample_data, tmp_path / "two", *shared, "--process", str(number)),
            env=environment("jax"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error[-3000:]
        assert "training on 2 devices" in error
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    # The same crops in one batch, the same dropout: what differs is the order of float32 sums.
    # 4 x 32 x 32 terms: sqrt(4096) * 2^-24 = 4e-6 relative, five times that for two steps.
    # The second loss is after a step on that whole batch; half of it would give another one.
    for a, b in zip(one, two, strict=True):
        for loss in ("loss", "validation_loss"):
            assert float(a[loss]) == pytest.approx(float(b[loss]), rel=2e-5)


def test_a_batch_that_devices_cannot_share_evenly_is_refused(
    sample_data: Path, tmp_path: Path
) -> None:
    result = subprocess.run(
        train_command(sample_data, tmp_path / "run"),
        env={**environment("jax"), "XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "a batch of 4 cannot be shared evenly by 3 devices" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
