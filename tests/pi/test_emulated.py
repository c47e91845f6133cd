"""`make test-pi` as a test; it runs with UNET_EDGE_PI=1 only, because it needs a Debian mirror."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = [
    pytest.mark.slow,  # many minutes
    pytest.mark.skipif(
        os.environ.get("UNET_EDGE_PI") != "1",
        reason="set UNET_EDGE_PI=1 to run it; it needs root, Linux 6.7 and a Debian mirror",
    ),
]


def test_emulated_pis_give_keras_masks(bundle_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.pi.check", str(bundle_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for system in ("Bookworm, 64 bit", "Trixie, 64 bit", "Bookworm, 32 bit"):
        assert f"| {system}" in done.stdout
