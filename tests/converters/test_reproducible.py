"""Two processes that run the same export write the same bytes to every file of the bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(run_path: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "first" / "bundle", tmp_path / "another place" / "named otherwise"]
    for seed, output in zip(("1", "2"), outputs, strict=True):
        output.parent.mkdir()
        # Python's hashes, and so the order of sets, differ between the two processes.
        subprocess.run(
            [sys.executable, "-m", "unet_edge", "export", run_path.absolute(), "-o", output,
             "--calibration", "8", "--golden", "4"],
            cwd=output.parent, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True, check=False, timeout=600,
        )  # fmt: skip
    first, second = (
        {p.relative_to(o).as_posix(): p.read_bytes() for p in o.rglob("*") if p.is_file()}
        for o in outputs
    )
    # Six files, manifest and digest, four golden pictures and masks, the card and its pictures.
    assert len(first) == 6 + 2 + 8 + 1 + 5
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
