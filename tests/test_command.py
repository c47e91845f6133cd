"""The command as a shell starts it: closed streams, encodings, unusual names, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_edge.system.printable import printable


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line with `unet-edge` in a shell; assert that it prints no traceback."""
    command = f"{shlex.quote(sys.executable)} -m unet_edge"
    done = subprocess.run(
        ["sh", "-c", line.replace("unet-edge", command)],
        cwd=folder, env=os.environ | environment, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode(errors="replace")
    return done


@pytest.fixture
def folder(bundle_path: Path, tmp_path: Path) -> Path:
    (tmp_path / "bundle").symlink_to(bundle_path)
    Image.fromarray(np.full((20, 30, 3), 99, np.uint8)).save(tmp_path / "photo.png")
    return tmp_path


class TestStreams:
    @pytest.mark.parametrize(
        ("line", "status", "says"),
        [
            ("unet-edge segment bundle photo.png -o out <&-", 0, ""),
            ("unet-edge segment bundle - -o - <&-", 1, "cannot read standard input"),
            ("unet-edge segment bundle photo.png -o - >&-", 1, "cannot write to standard output"),
            ("unet-edge segment bundle photo.png -o out >&-", 1, "cannot write to standard output"),
            ("unet-edge inspect bundle >&-", 1, "cannot write to standard output"),
            ("unet-edge --help >&-", 1, "cannot write to standard output"),
            (
                "unet-edge segment bundle photo.png -o out >/dev/full",
                1,
                "cannot write to standard out",
            ),
            ("unet-edge segment bundle photo.png -o - >/dev/full", 1, "cannot write to standard"),
            ("unet-edge --help >/dev/full", 1, "cannot write to standard output"),
            ("unet-edge segment bundle photo.png -o out 2>&-", 0, ""),
            ("unet-edge segment bundle none.png -o out 2>&-", 1, ""),
            ("unet-edge segment bundle photo.png -o out <&- >&- 2>&-", 1, ""),
        ],
    )
    def test_closed_or_full(self, folder: Path, line: str, status: int, says: str) -> None:
        done = shell(line, folder)
        lines = done.stderr.decode().splitlines()
        assert (done.returncode, len(lines)) == (status, int(bool(says))), lines
        assert says in done.stderr.decode()
        if "-o out" in line and "none" not in line:  # complete, and nothing was printed into them
            with Image.open(folder / "out" / "photo.mask.png") as mask:
                assert mask.size == (30, 20)
            log = (folder / "out" / ".segment.jsonl").read_text()
            assert [json.loads(entry)["name"] for entry in log.splitlines()] == ["photo"] * 2


# A program that cannot read a module's file, as from a worn SD card.
_UNREADABLE = """
import sys
from unet_edge.command import main
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "unet_edge.cli":
            raise OSError(5, "Input/output error"{file})
sys.meta_path.insert(0, Finder())
main()
"""


@pytest.mark.parametrize(
    ("file", "place"), [("", "a file"), (", '/card/cli\\n.py'", "/card/cli\\n.py")]
)
def test_only_an_error_of_standard_output_names_standard_output(file: str, place: str) -> None:
    command = [sys.executable, "-c", _UNREADABLE.format(file=file), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot use {place}: Input/output error\n"


class TestNames:
    def test_a_japanese_name_and_latin_1(self, folder: Path) -> None:
        (folder / "photo.png").rename(folder / "猫.png")
        line = "unet-edge segment bundle 猫.png -o out"
        done = shell(line, folder, PYTHONIOENCODING="latin-1")
        assert done.returncode == 0
        assert b"\\u732b.png" in done.stdout
        done = shell(f"{line} --json", folder, PYTHONIOENCODING="latin-1")
        (entry,) = json.loads(done.stdout.decode("utf-8"))["pictures"]
        assert entry["picture"] == "猫.png"

    def test_a_name_that_is_not_utf_8(self, folder: Path) -> None:
        name = os.fsdecode(b"caf\xe9.png")
        try:
            (folder / "photo.png").rename(folder / name)
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
        save = "polygons,rle,csv,jsonl"
        done = shell(f"unet-edge segment bundle caf*.png -o out --save {save} --json", folder)
        assert done.returncode == 0
        (entry,) = json.loads(done.stdout.decode("utf-8"))["pictures"]
        assert entry["picture"] == name
        for path in (folder / "out").iterdir():
            path.read_text(encoding="utf-8")  # raises for anything else
        with (folder / "out" / "shares.csv").open(newline="", encoding="utf-8") as file:
            assert [row["picture"] for row in csv.DictReader(file)] == ["caf\\udce9.png"]
        done = shell("unet-edge segment bundle caf*.png -o out --save csv", folder)
        assert "caf\\udce9.png" in done.stdout.decode("utf-8")

    def test_control_characters(self, folder: Path) -> None:
        name = "new\nline \x1b[31mred.png"
        (folder / name).write_bytes(b"no picture")
        done = shell("unet-edge segment bundle new* -o out", folder)
        errors = [line for line in done.stderr.splitlines() if line.startswith(b"error: ")]
        assert len(errors) == 1
        assert rb"new\nline \x1b[31mred.png is not a picture" in errors[0]
        (folder / "photo.png").replace(folder / name)
        done = shell("unet-edge segment bundle new* -o out", folder)
        assert done.returncode == 0
        assert b"\x1b" not in done.stdout
        assert rb"new\nline \x1b[31mred.png" in done.stdout

    def test_printable(self) -> None:
        assert printable("café 猫.png") == "café 猫.png"
        assert printable("a\tb\r\x7f\x85") == r"a\tb\r\x7f\x85"
        assert printable("\udce9‮") == r"\udce9\u202e"


def test_warnings_of_damaged_pictures_are_not_printed(folder: Path) -> None:
    photos = folder / "photos"
    photos.mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for number in range(4):
        path = photos / f"{number}.tif"
        picture.save(path, compression="tiff_lzw")
        data = bytearray(path.read_bytes())
        # libtiff prints messages about these zeros.
        data[200 + 100 * number : 2000] = bytes(1800 - 100 * number)
        path.write_bytes(data)
    done = shell("unet-edge segment bundle photos -o out", folder)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert len(lines) == 5, lines
    assert all(line.startswith("error: ") for line in lines[:4])


# A program that gets Ctrl-C in garbage collection, where Python drops exceptions.
_DROPPED = """
import gc, os, signal, time
from unet_edge.command import keep_interrupts
keep_interrupts()
left = {times}
def callback(phase, info):
    global left
    if left:
        left -= 1
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
gc.callbacks.append(callback)
gc.collect()
try:
    for _ in range(500):
        time.sleep(0.01)
        if left: gc.collect()
    print("lost")
except KeyboardInterrupt:
    print("stopped")
"""


# A program that gets Ctrl-C while it looks for a module.
_AT_IMPORT = """
import os, signal, sys
from unet_edge.command import main
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
main()
"""


class TestInterrupts:
    @pytest.mark.parametrize("times", [1, 3])
    def test_one_that_python_drops_is_raised_again(self, times: int) -> None:
        command = [sys.executable, "-c", _DROPPED.format(times=times)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert (done.stdout, done.stderr) == ("stopped\n", "")

    @pytest.mark.parametrize(
        "module", ["click", "unet_edge.cli.device", "PIL.Image", "numpy", "unet_edge.bundle.bundle",
                   "unet_edge.runtime.interpreter_choice", "unet_edge.batch.folder_run"],
    )  # fmt: skip
    def test_one_while_modules_are_imported(self, folder: Path, module: str) -> None:
        code = _AT_IMPORT.format(module=module)
        arguments = ["segment", "bundle", "photo.png", "-o", "out"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 130, done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert done.stderr.startswith("\ninterrupted")
