"""`unet-edge segment` on folders: resuming, several photos at once, and killed runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image
from segmenting import ALL, KILLED, skipped, visible

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.images.decoding import decode


class TestResuming:
    def test_finished_photos_are_skipped(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        command = ("segment", bundle_path, photos, "-o", out)
        first = run_json(*command)
        before = {path.name: path.stat().st_ino for path in out.glob("*.png")}
        again = run_json(*command)
        assert (skipped(first), skipped(again)) == ([False] * 3, [True] * 3)
        assert {path.name: path.stat().st_ino for path in out.glob("*.png")} == before
        for old, new in zip(first["pictures"], again["pictures"], strict=True):
            assert new == {**old, "skipped": True}
        assert skipped(run_json(*command, "--again")) == [False] * 3

    def test_a_missing_file_a_changed_photo_and_a_touched_one(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        command = ("segment", bundle_path, photos, "-o", tmp_path / "out")
        run(*command)
        (tmp_path / "out" / "a.overlay.png").unlink()
        decode(photos / "a.png").rotate(90).save(photos / "b.png")
        os.utime(photos / "c.jpg", (1, 1))
        assert skipped(run_json(*command)) == [False, False, True]
        with Image.open(tmp_path / "out" / "b.mask.png") as picture:
            expected = Segmenter.open(bundle_path).segment(photos / "b.png").labels
            assert np.array_equal(np.asarray(picture), expected)

    @pytest.mark.parametrize(
        "change", [("--file", "model-float32.onnx"), ("--edges", "smooth"), ("--save", "cutout")]
    )
    def test_another_model_other_edges_or_other_files(
        self, bundle_path: Path, photos: Path, tmp_path: Path, change: tuple[str, str]
    ) -> None:
        command = ("segment", bundle_path, photos, "-o", tmp_path / "out")
        run(*command)
        assert skipped(run_json(*command, *change)) == [False] * 3
        assert skipped(run_json(*command, *change)) == [True] * 3
        # The first run's files are still valid only if the second run did not replace them.
        assert skipped(run_json(*command)) == [change[0] == "--save"] * 3

    def test_a_photo_of_the_same_name_does_not_take_anothers_place(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        for source in (photos / "a.png", photos / "more" / "a.png", photos):
            report = run_json("segment", bundle_path, source, "-o", out, "--save", "index")
        assert visible(out) == [
            "a.index.png", "a.png.index.png", "b.index.png", "c.index.png"
        ]  # fmt: skip
        assert skipped(report) == [True, False, False]
        photos.rename(tmp_path / "elsewhere")
        report = run_json(
            "segment", bundle_path, tmp_path / "elsewhere", "-o", out, "--save", "index"
        )
        assert skipped(report) == [True] * 3  # the photos moved, and are unchanged
        photos.mkdir()
        decode(tmp_path / "elsewhere" / "b.png").save(photos / "a.png")
        report = run_json("segment", bundle_path, photos, "-o", out, "--save", "index")
        assert report["pictures"][0]["files"] == ["a.png-2.index.png"]
        with Image.open(out / "a.index.png") as picture:
            expected = Segmenter.open(bundle_path).segment(tmp_path / "elsewhere" / "a.png").labels
            assert np.array_equal(np.asarray(picture), expected)

    def test_results_among_the_photos_are_not_segmented(
        self, bundle_path: Path, photos: Path
    ) -> None:
        command = ("segment", bundle_path, photos, "-o", photos)
        run(*command)
        result = CliRunner().invoke(main, [str(a) for a in (*command, "--json")])
        assert skipped(json.loads(result.stdout)) == [True] * 3
        assert "left out 6 files" in result.stderr

    def test_nor_by_a_run_with_another_folder(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        run("segment", bundle_path, photos, "-o", photos)
        note = f"left out 6 files in {photos} that segment wrote there"
        command = ("segment", bundle_path, f"{photos}/*", "-o", tmp_path / "m8", "--json")
        result = CliRunner().invoke(main, [str(a) for a in command])
        pictures = [Path(entry["picture"]).name for entry in json.loads(result.stdout)["pictures"]]
        assert pictures == ["a.png", "b.png", "c.jpg", "a.png"]  # the last in the sub-folder
        assert note in result.stderr.splitlines()
        verified = ("verify", bundle_path, "--file", "model-float32.tflite", "--images", photos)
        result = CliRunner().invoke(main, [*map(str, verified), "--json"])
        assert json.loads(result.stdout)["files"][0]["pictures"] == 3
        assert note in result.stderr.splitlines()

    def test_results_that_are_named_alone_are_segmented_with_a_warning(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        cuts = tmp_path / "cuts"
        run("segment", bundle_path, photos, "-o", cuts, "--save", "cutout")
        command = ("segment", bundle_path, cuts, "-o", tmp_path / "m8", "--json")
        result = CliRunner().invoke(main, [str(a) for a in command])
        assert len(json.loads(result.stdout)["pictures"]) == 3
        warning = f"WARNING: only results of segment are listed in {cuts}: 3 pictures"
        assert warning in result.stderr.splitlines()
        # A file of that name which is not a log says nothing about the pictures.
        (cuts / ".segment.jsonl").write_text("mine")
        result = CliRunner().invoke(main, [str(a) for a in command])
        assert result.exit_code == 0
        assert "results of segment" not in result.stderr

    def test_two_at_once_in_one_folder(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        from unet_edge.batch.resume_log import open_resume_log

        with open_resume_log(tmp_path / "out"):
            assert "another unet-edge segment is writing" in refused(
                "segment", bundle_path, photo, "-o", tmp_path / "out"
            )

    def test_bad_files_are_reported_at_the_end_and_tried_again(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        good = (photos / "b.png").read_bytes()
        (photos / "b.png").write_bytes(good[:3000])
        command = ("segment", bundle_path, photos, "-o", tmp_path / "out", "--save", "index,csv")
        result = CliRunner().invoke(main, [str(a) for a in command])
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == (
            "1 of 3 pictures could not be segmented; repeat the command when they are fixed: the "
            "others are skipped"
        )
        assert f"error: {photos / 'b.png'} is damaged" in result.stderr
        assert visible(tmp_path / "out") == ["a.index.png", "c.index.png", "shares.csv"]
        assert refused(*command, "--again").splitlines()[-1] == (
            "1 of 3 pictures could not be segmented; repeat the command without --again when they "
            "are fixed: the others are skipped"
        )
        (photos / "b.png").write_bytes(good)
        assert skipped(run_json(*command)) == [True, False, True]


def test_photos_at_once_give_the_files_that_each_gives_alone(
    bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    originals = sorted(path for path in photos.iterdir() if path.is_file())
    for index in range(9):
        shutil.copy(originals[index % 3], photos / f"{index:02d}{originals[index % 3].suffix}")
    names = sorted(path.name for path in photos.iterdir() if path.is_file())
    together = run_json(
        "segment", bundle_path, photos, "-o", tmp_path / "together", "--threads", 3, "--save", ALL
    )
    assert [Path(entry["picture"]).name for entry in together["pictures"]] == names
    for name in names:
        run(
            "segment", bundle_path, photos / name, "-o", tmp_path / "alone", "--save", "palette,rle"
        )
    for path in (tmp_path / "alone").glob("??.*"):
        assert path.read_bytes() == (tmp_path / "together" / path.name).read_bytes()


@pytest.mark.slow
class TestKilled:
    @pytest.fixture
    def complete(self, bundle_path: Path, photos: Path, tmp_path: Path) -> dict[str, bytes]:
        """What an uninterrupted run writes."""
        run("segment", bundle_path, photos, "-o", tmp_path / "complete", "--save", ALL)
        return {
            name: (tmp_path / "complete" / name).read_bytes()
            for name in visible(tmp_path / "complete")
        }

    @pytest.mark.parametrize(
        ("moment", "sent"),
        # A photo is 2 lines of the log and 8 files of 2 calls each; 4 tables end it.
        [*((n, "SIGKILL") for n in (1, 2, 3, 9, 18, 19, 25, 56, 60)),
         *((n, "SIGINT") for n in (1, 2, 3, 12, 19))],
    )  # fmt: skip
    def test_the_next_run_ends_where_an_uninterrupted_one_does(
        self, bundle_path: Path, photos: Path, tmp_path: Path, complete: dict[str, bytes],
        moment: int, sent: str,
    ) -> None:  # fmt: skip
        out = tmp_path / "out"
        command = ["segment", str(bundle_path), str(photos), "-o", str(out), "--save", ALL]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(moment), sent, *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == (130 if sent == "SIGINT" else -signal.SIGKILL), done.stderr
        # Complete files only.
        for name in visible(out):
            assert (out / name).read_bytes() == complete[name]
        if sent == "SIGINT":
            assert "interrupted; what was finished is kept" in done.stderr
            assert [p.name for p in out.glob(".*")] in ([], [".segment.jsonl"])
        log = out / ".segment.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        done_before = sum('"coverage"' in line for line in lines)
        if sent == "SIGKILL":  # after Ctrl-C, photos that were begun are finished
            assert done_before <= moment // 18
        report = run_json(*command)
        assert skipped(report).count(True) == done_before
        assert {name: (out / name).read_bytes() for name in visible(out)} == complete
        assert [path.name for path in out.glob(".*")] == [".segment.jsonl"]
        assert skipped(run_json(*command)) == [True] * 3

    def test_half_a_line_in_the_log_and_a_temporary_file(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        command = ("segment", bundle_path, photos, "-o", out)
        run(*command)
        log = out / ".segment.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
        last = "abc".index(json.loads(lines[-1])["name"])  # threads finish in any order
        (out / ".c.mask.png.0123abcd.unet-edge").write_bytes(b"half")
        (out / ".mine.png.0123abcd.unet-edge").write_bytes(b"of another program")
        assert skipped(run_json(*command)) == [index != last for index in range(3)]
        assert sorted(path.name for path in out.glob(".*")) == [
            ".mine.png.0123abcd.unet-edge", ".segment.jsonl"
        ]  # fmt: skip
        assert skipped(run_json(*command)) == [True] * 3

    def test_half_written_over_by_another_model(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        # Model B replaced the first of model A's files: A's photo is no longer finished.
        out = tmp_path / "out"
        command = ["segment", str(bundle_path), str(photo), "-o", str(out)]
        run(*command)
        expected = (out / "cells-017.mask.png").read_bytes()
        other = [*command, "--edges", "smooth"]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, "4", "SIGKILL", *other],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL
        assert skipped(run_json(*command)) == [False]
        assert (out / "cells-017.mask.png").read_bytes() == expected
