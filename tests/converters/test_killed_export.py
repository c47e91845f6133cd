"""Exports killed or interrupted at any moment leave the old bundle, none, or the complete new."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from paths import SUPPORT
from tiny_run import FORMATS, make_run

from unet_edge.cli import main

pytestmark = pytest.mark.slow
ROOT = SUPPORT.parent.parent


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and a bundle of it that differs from what the children export."""
    root = tmp_path_factory.mktemp("tiny")
    run = make_run(root)
    arguments = ["export", str(run), "-o", str(root / "old"), "--formats", FORMATS, "--golden", "2"]
    result = CliRunner().invoke(main, [*arguments, "--license", "old"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return run, root / "old"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def export_in_children(
    tiny: tuple[Path, Path], work: Path, sent: signal.Signals, count: int, seed: int
) -> list[dict[str, Any]]:
    """The results that `export_in_children.py` prints; the first export is not interrupted."""
    run, old = tiny
    shutil.copytree(old, work / "old")
    script = SUPPORT / "export_in_children.py"
    done = subprocess.run(
        [sys.executable, script, run, work, sent.name, str(count), str(seed)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(work)},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    complete, *children = [json.loads(line) for line in done.stdout.splitlines()]
    assert complete["status"] == 0, complete["output"]
    assert len(children) == count
    return [complete, *children]


def test_killed_at_twenty_moments(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    _, *children = export_in_children(tiny, tmp_path, signal.SIGKILL, 20, seed=1)
    old, new = tree(tmp_path / "old"), tree(tmp_path / "new")
    assert old != new
    assert [child["status"] for child in children] == [-signal.SIGKILL] * 20
    for number in range(20):
        bundle = tmp_path / f"{number:02d}" / "bundle"
        if bundle.exists():
            assert tree(bundle) in (old, new), number
            result = CliRunner().invoke(main, ["verify", str(bundle)])
            assert result.exit_code == 0, result.output
    # Exports with even numbers started with a bundle, those with odd numbers without.
    assert all((tmp_path / f"{number:02d}" / "bundle").is_dir() for number in range(0, 20, 2))
    # Many exports leave a temporary folder. The next export removes it, unless it is killed before:
    # otherwise the folders would accumulate.
    leftovers = [
        [p.name for p in (tmp_path / f"{n:02d}").iterdir() if ".unet-edge-" in p.name]
        for n in range(20)
    ]
    with_leftovers = [number for number, names in enumerate(leftovers) if names]
    assert len(with_leftovers) >= 4
    # One folder for the converters' temporary files and, while it is written, one for the bundle.
    assert max(map(len, leftovers)) <= 2
    # Converters' temporary files are in that folder too, not in the directory for temporary files.
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("tmp")] == []

    place = tmp_path / "place"
    shutil.rmtree(place)
    shutil.copytree(tmp_path / f"{with_leftovers[0]:02d}", place)
    arguments = ["export", str(tiny[0]), "-o", str(place / "bundle"), "--formats", FORMATS]
    result = CliRunner().invoke(main, [*arguments, "--golden", "2"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [path.name for path in place.iterdir()] == ["bundle"]
    assert tree(place / "bundle") == new


def test_ctrl_c_at_eight_moments(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    _, *children = export_in_children(tiny, tmp_path, signal.SIGINT, 8, seed=2)
    old, new = tree(tmp_path / "old"), tree(tmp_path / "new")
    for number, child in enumerate(children):
        folder = tmp_path / f"{number:02d}"
        assert child["status"] == 130, child["output"]
        assert "Traceback" not in child["output"]
        # "interrupted; what was finished is kept" once the command's options are read
        assert "interrupted" in child["output"]
        assert tree(folder / "bundle") in (old if number % 2 == 0 else {}, new)
        assert [path.name for path in folder.iterdir()] in ([], ["bundle"])
