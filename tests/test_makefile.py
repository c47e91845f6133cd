"""The Makefile's targets, without running them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from paths import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_wheel_needs_no_development_tools(tmp_path: Path) -> None:
    def steps(target: str) -> str:
        command = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "-m venv " in steps("wheel")
    assert "pip wheel " in steps("wheel")
    assert ".[dev]" not in steps("wheel")
    assert steps("lint").index("-m venv ") < steps("lint").index(".[dev]")
