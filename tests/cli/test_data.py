"""`data check`, `data split` and `data preview` on real files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from unet_edge.cli import main
from unet_edge.dataset import find_dataset
from unet_edge.dataset.split_file import SplitNames
from unet_edge.system.files import write_atomically

CLASSES = ("--classes", "cell,membrane")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_a_folder_that_is_not_a_data_set_is_reported_in_lines(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = run("check", tmp_path, *CLASSES)
    assert done.exit_code == 1
    first, expected, fix = done.stdout.splitlines()
    assert first == f"error: {tmp_path} holds photos"
    assert expected.startswith("  expected Images/ with Labels/")
    folders = " and the masks into ".join(f"{tmp_path / name}/" for name in ("images", "masks"))
    assert fix == f"  put the pictures into {folders}"
    (finding,) = json.loads(run("check", tmp_path, *CLASSES, "--json").stdout)["findings"]
    assert finding["found"] == f"{tmp_path} holds photos; {expected.strip()}"
    assert finding["kind"] == "layout"


@pytest.fixture
def copy(sample_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_data, tmp_path / "copy"))


class TestCheck:
    def test_sound_data(self, sample_data: Path) -> None:
        done = run("check", sample_data, *CLASSES, "--strict")
        assert done.exit_code == 0, done.output
        assert "masks: class indices (values 0, 1)" in done.stderr
        assert "0 errors, 0 warnings" in done.stderr
        lines = done.stdout.splitlines()
        assert lines[0].split() == ["split", "pictures", "cell", "membrane", "ignored"]
        assert lines[2].split()[:2] == ["train", "16"]
        assert lines[3].split()[:2] == ["validation", "5"]
        assert lines[4] == "pictures of 192x192 px (width x height)"

    def test_an_error_is_shown_with_its_fix(self, copy: Path) -> None:
        (copy / "masks" / "cells-003.png").unlink()
        done = run("check", copy, *CLASSES)
        assert done.exit_code == 1
        count, row = (line for line in done.stdout.splitlines() if line.startswith("error"))
        assert count.split()[:5] == ["error", "missing-mask", "1", "draw", "one,"]
        assert row.split() == ["error", "missing-mask", "images/cells-003.png", "has", "no", "mask"]
        assert done.stderr.splitlines()[-1] == f"1 error, 0 warnings in {copy}"

    def test_warnings_fail_only_when_strict(self, copy: Path) -> None:
        shutil.copy(copy / "masks" / "cells-003.png", copy / "masks" / "stray.png")
        assert run("check", copy, *CLASSES).exit_code == 0
        strict = run("check", copy, *CLASSES, "--strict")
        assert strict.exit_code == 1
        assert "0 errors, 1 warning in" in strict.stderr

    def test_json_lists_everything_and_nothing_else(self, copy: Path) -> None:
        for number in range(12):
            (copy / "masks" / f"cells-{number:03d}.png").unlink()
        done = run("check", copy, *CLASSES, "--json")
        assert done.exit_code == 1
        report = json.loads(done.stdout)
        assert report["errors"] == len(report["findings"]) == 12
        assert report["splits"]["train"]["pictures"] == 4
        table = run("check", copy, *CLASSES).stdout
        assert table.count("has no mask") == 3
        assert "… and 9 more; --all shows them" in table
        assert run("check", copy, *CLASSES, "--all").stdout.count("has no mask") == 12

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (("--masks", "binary"), "unknown mask rule 'binary'"),
            (("--masks", "colors:red"), "'red' is not a colour"),
            (("--masks", "colors:#000000,#000000"), "names one colour twice"),
            (("--masks", "colors:#000000"), "1 colour for 2 classes"),
        ],
    )
    def test_settings_that_make_no_sense(
        self, sample_data: Path, options: tuple[str, ...], says: str
    ) -> None:
        done = run("check", sample_data, *CLASSES, *options)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")
        assert says in done.stderr

    def test_classes_that_train_refuses(self, sample_data: Path) -> None:
        done = run("check", sample_data, "--classes", "backgroundcat")
        assert done.exit_code == 1
        assert (
            "1 class given: backgroundcat; there must be 2 to 255; separate names with commas, "
            "background first: --classes background,cat"
        ) in done.stderr

    def test_no_data(self, tmp_path: Path) -> None:
        done = run("check", tmp_path / "none")
        assert done.exit_code == 1
        assert "no such data folder" in done.stdout
        assert "1 error, 0 warnings" in done.stderr


class TestSplit:
    def test_lists_are_written_where_train_finds_them(self, copy: Path) -> None:
        for name in ("train", "val"):
            (copy / f"{name}.txt").unlink()
        done = run("split", copy, *CLASSES)
        assert done.exit_code == 0, done.output
        rows = [line.split() for line in done.stdout.splitlines()[2:5]]
        assert [(name, int(count)) for name, count, _ in rows] == [
            ("train", 15), ("validation", 4), ("test", 2),
        ]  # fmt: skip
        checked = run("check", copy, *CLASSES, "--json")
        splits = json.loads(checked.stdout)["splits"]
        assert [split["pictures"] for split in splits.values()] == [15, 4, 2]

    def test_json(self, copy: Path, tmp_path: Path) -> None:
        done = run("split", copy, *CLASSES, "-o", tmp_path / "lists", "--test", 0, "--json")
        found = json.loads(done.stdout)
        assert list(found) == ["train", "validation", "lists"]
        assert found["lists"] == [str(tmp_path / "lists" / f"{n}.txt") for n in ("train", "val")]

    def test_a_picture_without_a_mask_is_named(self, copy: Path) -> None:
        (copy / "masks" / "cells-003.png").unlink()
        done = run("split", copy, *CLASSES, "--overwrite")
        assert done.exit_code == 0, done.output
        assert "WARNING: 1 picture left out: cells-003.png has no mask" in done.stderr
        checked = run("check", copy, *CLASSES)
        assert "unlisted" in checked.stdout
        assert "0 errors, 1 warning in" in checked.stderr

    def test_existing_lists_are_kept(self, copy: Path) -> None:
        done = run("split", copy, *CLASSES)
        assert done.exit_code == 1
        assert "train.txt already exists; pass --overwrite" in done.stderr


class TestNames:
    def test_names_that_are_not_utf_8_are_split_and_read_back(self, copy: Path) -> None:
        for folder in ("images", "masks"):
            for number in range(0, 21, 2):
                old = copy / folder / f"cells-{number:03d}.png"
                old.rename(copy / folder / f"caf\udce9-{number:03d}.png")
        for name in ("train", "val"):
            (copy / f"{name}.txt").unlink()
        done = run("split", copy, *CLASSES)
        assert done.exit_code == 0, done.output
        lists = b"".join((copy / f"{name}.txt").read_bytes() for name in ("train", "val", "test"))
        assert b"caf\xe9-020.png\n" in lists
        checked = run("check", copy, *CLASSES, "--json")
        assert checked.exit_code == 0, checked.output
        splits = json.loads(checked.stdout)["splits"]
        assert sum(split["pictures"] for split in splits.values()) == 21

    def test_a_run_keeps_names_that_are_not_utf_8(self, copy: Path, tmp_path: Path) -> None:
        for folder in ("images", "masks"):
            (copy / folder / "cells-003.png").rename(copy / folder / "caf\udce9.png")
        (copy / "train.txt").unlink()
        split = SplitNames.of(find_dataset(copy, classes=("cell", "membrane")))
        assert "caf\udce9" in split.train
        write_atomically(tmp_path / "split.json", split.to_json())
        kept = SplitNames.read(tmp_path / "split.json")
        assert kept == split
        again = find_dataset(copy, classes=("cell", "membrane"), split=kept)
        assert SplitNames.of(again) == split

    def test_a_name_with_an_escape_is_printed_and_not_obeyed(self, copy: Path) -> None:
        for folder in ("images", "masks"):
            (copy / folder / "cells-003.png").rename(copy / folder / "cells\x1b[31m\n003.png")
        (copy / "masks" / "cells\x1b[31m\n003.png").unlink()
        (copy / "train.txt").unlink()
        done = run("check", copy, *CLASSES)
        assert "images/cells\\x1b[31m\\n003.png" in done.stdout
        assert "\x1b" not in done.output


@pytest.fixture
def twelve_bits(copy: Path) -> Path:
    """The pictures, as a camera of 12 bits writes them into files of 16 bits."""
    for path in (copy / "images").iterdir():
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey << 4).save(path)
    return copy


class TestBitDepth:
    def test_check_reads_as_train_does(self, twelve_bits: Path) -> None:
        plain = run("check", twelve_bits, *CLASSES, "--strict")
        assert plain.exit_code == 1
        assert "sixteen-bit" in plain.stdout
        right = run("check", twelve_bits, *CLASSES, "--strict", "--bit-depth", 12)
        assert right.exit_code == 0, right.output
        assert "0 errors, 0 warnings" in right.stderr

    def test_check_sees_what_training_would_see(self, twelve_bits: Path) -> None:
        # With 8 bits, every pixel that is not black is white.
        for path in (twelve_bits / "images").iterdir():
            Image.fromarray(np.asarray(Image.open(path)) | 0x100).save(path)
        wrong = run("check", twelve_bits, *CLASSES, "--bit-depth", 8)
        assert "blank-picture" in wrong.stdout
        assert "blank-picture" not in run("check", twelve_bits, *CLASSES).stdout

    def test_preview_shows_what_is_trained_on(
        self, sample_data: Path, twelve_bits: Path, tmp_path: Path
    ) -> None:
        options = ("--count", 1, "--views", 1, "--size", 96)
        sheets = []
        for data, depth in ((sample_data, ()), (twelve_bits, ("--bit-depth", 12))):
            path = tmp_path / f"{len(sheets)}.png"
            done = run("preview", data, *CLASSES, *options, *depth, "-o", path)
            assert done.exit_code == 0, done.output
            sheets.append(np.asarray(Image.open(path)))
        assert np.array_equal(*sheets)

    @pytest.mark.parametrize("command", ["check", "preview"])
    @pytest.mark.parametrize("depth", [7, 17, "many"])
    def test_a_depth_that_train_refuses(self, copy: Path, command: str, depth: object) -> None:
        done = run(command, copy, *CLASSES, "--bit-depth", depth)
        assert done.exit_code == 2
        assert "--bit-depth" in done.stderr


class TestPreview:
    def test_a_name_without_a_suffix_gets_one(self, sample_data: Path, tmp_path: Path) -> None:
        done = run("preview", sample_data, *CLASSES, "--size", 32, "-o", tmp_path / "catsview")
        assert done.exit_code == 0, done.output
        assert done.stdout == f"look at {tmp_path / 'catsview.png'}\n"
        assert [path.name for path in tmp_path.iterdir()] == ["catsview.png"]

    @pytest.mark.parametrize("folder", ["previews", "previews.png", "..", "."])
    def test_a_folder_is_refused(
        self, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        (tmp_path / "cwd" / "previews").mkdir(parents=True)
        (tmp_path / "cwd" / "previews.png").mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        done = run("preview", sample_data, *CLASSES, "-o", folder)
        assert done.exit_code == 1
        fix = f"pass -o {Path(folder) / 'preview.png'}"
        assert f"{folder} is a folder; data preview writes a PNG; {fix}" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["cwd"]
        assert len(list((tmp_path / "cwd").iterdir())) == 2

    def test_a_name_of_dots_is_refused(self, sample_data: Path, tmp_path: Path) -> None:
        done = run("preview", sample_data, *CLASSES, "-o", tmp_path / "...")
        assert done.exit_code == 1
        assert "... is not the name of a file; data preview writes a PNG; pass -o " in done.stderr
        assert not list(tmp_path.iterdir())

    def test_another_suffix_is_refused(self, sample_data: Path, tmp_path: Path) -> None:
        done = run("preview", sample_data, *CLASSES, "-o", tmp_path / "p.jpg")
        assert done.exit_code == 1
        assert f"data preview writes a PNG; pass -o {tmp_path / 'p.png'}" in done.stderr
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (("--size", 250), "size is 250x250; mobilenet_unet needs multiples of 16 px, e.g."),
            (("--crop", "32x50"), "crop is 32x50; mobilenet_unet needs multiples of 16 px"),
            (("--size", 30, "--architecture", "unet_mini"), "needs multiples of 4 px"),
        ],
    )
    def test_a_size_that_train_refuses(
        self, sample_data: Path, tmp_path: Path, options: tuple[object, ...], says: str
    ) -> None:
        done = run("preview", sample_data, *CLASSES, *options, "-o", tmp_path / "p.png")
        assert done.exit_code == 1
        assert says in done.stderr
        assert not (tmp_path / "p.png").exists()

    @pytest.mark.parametrize(
        "options",
        [
            ("--size", "250"),
            ("--size", "0"),
            ("--size", "256x"),
            ("--size", "²"),
            ("--size", "256x250"),
            ("--crop", "32x50"),
            ("--crop", "100", "--architecture", "mobilenet_unet"),
            ("--size", "30", "--architecture", "unet_mini"),
            ("--rotation", "181"),
            ("--bit-depth", "17"),
            ("--seed", "-1"),
            ("--ignore", "256"),
            ("--classes", "cell"),
            ("--classes", "cell,cell"),
        ],
        ids=" ".join,
    )
    def test_what_train_refuses_is_refused_with_its_words(
        self, sample_data: Path, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        classes = () if "--classes" in options else CLASSES
        answers = []
        for command in (["data", "preview"], ["train"]):
            place = tmp_path / command[-1]
            arguments = [*command, str(sample_data), *classes, *options, "-o", str(place)]
            done = CliRunner().invoke(main, arguments)
            assert done.exit_code in (1, 2), done.output
            assert not place.exists()
            answers.append((done.exit_code, done.stderr.splitlines()[-1].lower()))
        assert answers[0] == answers[1]

    def test_what_train_accepts_is_accepted(self, sample_data: Path, tmp_path: Path) -> None:
        options = ("--count", 1, "--views", 1, "--architecture", "unet_mini", "--size", "20x24")
        done = run("preview", sample_data, *CLASSES, *options, "-o", tmp_path / "p.png")
        assert done.exit_code == 0, done.output

    def test_a_sheet_is_written(self, sample_data: Path, tmp_path: Path) -> None:
        path = tmp_path / "sheets" / "preview.png"
        options = ("--count", 2, "--views", 1, "--size", 96, "--crop", "32x48")
        done = run("preview", sample_data, *CLASSES, *options, "-o", path)
        assert done.exit_code == 0, done.output
        assert str(path) in done.stdout
        with Image.open(path) as sheet:
            assert sheet.width == 8 + 96 + 8 + 48 + 8
            assert sheet.height > 22 + 2 * (96 + 8)  # the legend comes below
            assert np.ptp(np.asarray(sheet)) > 0

    def test_bad_data_is_one_line(self, copy: Path, tmp_path: Path) -> None:
        (copy / "masks" / "cells-003.png").unlink()
        done = run("preview", copy, *CLASSES, "-o", tmp_path / "p.png")
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "p.png").exists()

    def test_neither_command_needs_keras(self, sample_data: Path, tmp_path: Path) -> None:
        script = """
import sys
for name in ("keras", "tensorflow", "matplotlib"):
    sys.modules[name] = None
from unet_edge.cli import main
main(sys.argv[1:])
"""
        for arguments in (["check"], ["preview", "-o", str(tmp_path / "p.png"), "--count", "1"]):
            command, *options = arguments
            done = subprocess.run(
                [
                    sys.executable,
                    *("-c", script, "data", command, str(sample_data)),
                    *(*CLASSES, *options),
                ],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
