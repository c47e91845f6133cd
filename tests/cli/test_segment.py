"""`unet-edge segment` on real files: what goes in, what comes out, what is done once only."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.dataset.coco import read_coco
from unet_edge.decoding import decode, read_photo
from unet_edge.demo.cells import draw_cells
from unet_edge.metadata import Contract, seal
from unet_edge.runtime.segmenter import read_spec
from unet_edge.tiling import Tiles

ALL = "index,palette,overlay,cutout,probabilities,polygons,rle,csv,jsonl"


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def run_json(*arguments: object, status: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", status=status))


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 1, result.output
    return result.output


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def skipped(report: Any) -> list[bool]:
    return [entry["skipped"] for entry in report["pictures"]]


@pytest.fixture
def photo(sample_data: Path) -> Path:
    return sample_data / "images" / "cells-017.png"


@pytest.fixture
def photos(sample_data: Path, tmp_path: Path) -> Path:
    """Four photos of two sizes, one of them in another folder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, place in enumerate(("a.png", "b.png", "c.jpg", "more/a.png")):
        picture = decode(sample_data / "images" / f"cells-{index:03}.png")
        picture.resize((300, 200) if index % 2 else (192, 192)).save(folder / place)
    return folder


class TestMasks:
    def test_writes_what_the_api_gives(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        run("segment", bundle_path, photo, "-o", tmp_path, "--save", "index,palette,overlay")
        expected = Segmenter.open(bundle_path).segment(photo)
        with Image.open(tmp_path / "cells-017.index.png") as picture:
            index = np.asarray(picture)
        with Image.open(tmp_path / "cells-017.mask.png") as palette:
            np.testing.assert_array_equal(np.asarray(palette), expected.labels)
            assert palette.mode == "P"
        with Image.open(tmp_path / "cells-017.overlay.png") as overlay:
            assert overlay.size == (192, 192)
        np.testing.assert_array_equal(index, expected.labels)
        assert 0.1 < (index == 1).mean() < 0.5, "membranes cover a fifth to a third of a picture"

    def test_json_gives_the_share_of_each_class(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        report = run_json("segment", bundle_path, photo, "-o", tmp_path)
        expected = Segmenter.open(bundle_path).segment(photo).coverage()
        files = ["cells-017.mask.png", "cells-017.overlay.png"]
        assert report["pictures"] == [
            {"picture": str(photo), "coverage": expected, "files": files, "skipped": False}
        ]

    def test_pictures_of_one_name_do_not_overwrite_each_other(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        for suffix in ("png", "bmp"):
            decode(photo).save(tmp_path / f"same.{suffix}")
        run("segment", bundle_path, tmp_path, "-o", tmp_path / "out", "--save", "index")
        written = visible(tmp_path / "out")
        assert written == ["same.bmp.index.png", "same.png.index.png"]

    def test_pictures_of_one_name_in_two_folders(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            decode(photo).save(tmp_path / folder / "x.png")
        run("segment", bundle_path, tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out")
        assert len(list((tmp_path / "out").glob("*.mask.png"))) == 2


@pytest.fixture
def large_photo(sample_data: Path, tmp_path: Path) -> Path:
    """A JPEG that the model's contract has reduced by 2, as 384 px are twice its 192."""
    picture = decode(sample_data / "images" / "cells-017.png").resize((768, 768))
    picture.save(tmp_path / "large.jpg", quality=90)
    return tmp_path / "large.jpg"


class TestLargePhotos:
    def test_what_is_drawn_has_the_photos_own_pixels(
        self, bundle_path: Path, large_photo: Path, tmp_path: Path
    ) -> None:
        segmenter = Segmenter.open(bundle_path)
        assert read_photo(large_photo, segmenter.spec).picture.size == (384, 384)
        mask = segmenter.segment(large_photo)
        # Were it decoded first, the mask would be another one.
        assert not np.array_equal(segmenter.segment(decode(large_photo)).labels, mask.labels)
        for save in ("index", "index,overlay", "cutout,index", "overlay,index,cutout"):
            out = tmp_path / save.replace(",", "-")
            run("segment", bundle_path, large_photo, "-o", out, "--save", save)
            for kind, picture in (
                ("index", mask.picture()),
                ("overlay", mask.overlay(large_photo)),
                ("cutout", mask.cutout(large_photo)),
            ):
                if kind in save:
                    with Image.open(out / f"large.{kind}.png") as found:
                        assert found.size == (768, 768)
                        assert np.array_equal(np.asarray(found), np.asarray(picture)), (save, kind)

    def test_a_photo_that_is_not_reduced_is_drawn_on_twice(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        # Decoded once: the overlay must not be cut out instead of the photo.
        mask = Segmenter.open(bundle_path).segment(photo)
        for save in ("overlay,cutout", "cutout,overlay"):
            run("segment", bundle_path, photo, "-o", tmp_path, "--save", save, "--again")
            for kind, picture in (("overlay", mask.overlay(photo)), ("cutout", mask.cutout(photo))):
                with Image.open(tmp_path / f"cells-017.{kind}.png") as found:
                    assert np.array_equal(np.asarray(found), np.asarray(picture)), (save, kind)

    @pytest.mark.slow
    def test_twelve_megapixels_fit_into_150_mb(
        self, bundle_path: Path, large_photo: Path, tmp_path: Path
    ) -> None:
        decode(large_photo).resize((4000, 3000)).save(tmp_path / "photo.jpg", quality=90)
        code = (
            "import sys\nfrom unet_edge.cli import main\n"
            "from unet_edge.timing import peak_memory\n"
            "main(sys.argv[1:], standalone_mode=False)\nprint(peak_memory(), file=sys.stderr)"
        )
        arguments = ["segment", bundle_path, tmp_path / "photo.jpg", "-o", tmp_path / "out"]
        child = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
        )
        peak = float(child.stderr.split()[-1]) * 2**20 / 1e6
        # 48 MB of photo, 12 of mask, 33 of Python, NumPy and Pillow, the rest the interpreter's; a
        # second copy of the photo, or its PNG of 10 MB or more, would show.
        assert peak <= 150
        assert visible(tmp_path / "out") == ["photo.mask.png", "photo.overlay.png"]


class TestOutputs:
    @pytest.mark.parametrize("edges", ["nearest", "smooth"])
    def test_every_kind_is_of_the_same_mask(
        self, bundle_path: Path, photos: Path, tmp_path: Path, edges: Any
    ) -> None:
        out = tmp_path / "out"
        run("segment", bundle_path, photos, "-o", out, "--save", ALL, "--edges", edges)
        segmenter = Segmenter.open(bundle_path)
        for path in (photos / "a.png", photos / "b.png", photos / "c.jpg"):
            mask = segmenter.segment(path, edges=edges)
            rgb = np.asarray(decode(path))
            for kind in ("index", "mask"):
                with Image.open(out / f"{path.stem}.{kind}.png") as picture:
                    assert np.array_equal(np.asarray(picture), mask.labels)
            with Image.open(out / f"{path.stem}.overlay.png") as picture:
                assert np.array_equal(np.asarray(picture), np.asarray(mask.overlay(path)))
            with Image.open(out / f"{path.stem}.cutout.png") as picture:
                pixels = np.asarray(picture)
            assert np.array_equal(pixels[..., 3] == 255, mask.labels == 1)
            assert np.array_equal(pixels[mask.labels == 1][:, :3], rgb[mask.labels == 1])
            planes = []
            for index in range(2):
                with Image.open(out / f"{path.stem}.probability-{index}.png") as picture:
                    planes.append(np.asarray(picture).astype(int))
            # Each is rounded by half a step at most.
            assert np.abs(planes[0] + planes[1] - 255).max() <= 1
            sure = planes[0] != planes[1]
            assert sure.mean() > 0.99
            assert np.array_equal((planes[1] > planes[0])[sure], (mask.labels == 1)[sure])
            for kind in ("polygons", "rle"):
                (found,) = read_coco(out / f"{path.stem}.{kind}.json", segmenter.spec.classes)
                assert found.file_name == path.name
                assert np.array_equal(found.labels(), mask.labels)

    def test_what_is_collected_has_every_photo_of_the_folder(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        save = ("--save", "polygons,rle,csv,jsonl")
        run("segment", bundle_path, photos, "-o", out, *save)
        report = run_json("segment", bundle_path, photos / "more", "-o", out, *save)
        assert report["collected"] == ["shares.csv", "shares.jsonl", "polygons.json", "rle.json"]
        segmenter = Segmenter.open(bundle_path)
        masks = {
            name: segmenter.segment(photos / name)
            for name in ("a.png", "b.png", "c.jpg", "more/a.png")
        }
        for kind in ("polygons", "rle"):
            found = read_coco(out / f"{kind}.json", segmenter.spec.classes)
            assert [picture.file_name for picture in found] == list(masks)
            for picture in found:
                assert np.array_equal(picture.labels(), masks[picture.file_name].labels)
            data = json.loads((out / f"{kind}.json").read_text())
            numbers = [annotation["id"] for annotation in data["annotations"]]
            assert numbers == list(range(1, len(numbers) + 1))
        with (out / "shares.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        lines = [json.loads(line) for line in (out / "shares.jsonl").read_text().splitlines()]
        for row, line, (name, mask) in zip(rows, lines, masks.items(), strict=True):
            height, width = mask.labels.shape
            assert (row["picture"], row["width"], row["height"]) == (name, str(width), str(height))
            assert float(row["membrane"]) == mask.coverage()["membrane"]
            assert line == {
                "picture": name, "width": width, "height": height, "shares": mask.coverage()
            }  # fmt: skip

    def test_a_file_of_labels_is_refused_what_needs_scores_before_the_work(
        self, run_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        from converters.tflite import to_tflite
        from unet_edge.runtime.backends.keras_model import load_keras

        spec = replace(read_spec(run_path / "spec.json"), output="labels")
        data = to_tflite(load_keras(run_path / "model.keras"), spec, "float32")
        model = tmp_path / "labels.tflite"
        model.write_bytes(seal(data, Contract(spec, "tflite", "float32")))
        base = ("segment", model, photo, "-o", tmp_path / "out")
        for asked in (("--save", "probabilities"), ("--edges", "smooth"), ("--tiles",)):
            assert "unet-edge export RUN (without --labels)" in refused(*base, *asked)
        assert not (tmp_path / "out").exists()
        run(*base, "--save", "cutout,polygons,csv")
        assert "cells-017.cutout.png" in visible(tmp_path / "out")

    def test_an_unknown_kind(self, bundle_path: Path, photo: Path) -> None:
        assert "--save masks: choose from index" in refused(
            "segment", bundle_path, photo, "--save", "masks,index"
        )


class TestInputs:
    def test_patterns_and_names_given_twice(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        arguments = (photos / "**" / "*.png", photos / "a.png", photos / "more" / ".." / "a.png")
        report = run_json("segment", bundle_path, *arguments, "-o", tmp_path / "out")
        found = [entry["picture"] for entry in report["pictures"]]
        assert found == [str(photos / name) for name in ("a.png", "b.png", "more/a.png")]

    def test_a_pattern_that_fits_nothing(self, bundle_path: Path, photos: Path) -> None:
        assert f"fit {photos / '*.webp'}" in refused("segment", bundle_path, photos / "*.webp")

    def test_a_name_that_looks_like_a_pattern(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        odd = tmp_path / "x[1].png"
        shutil.copy(photo, odd)
        report = run_json("segment", bundle_path, odd, "-o", tmp_path / "out")
        assert report["pictures"][0]["files"] == ["x[1].mask.png", "x[1].overlay.png"]

    @pytest.mark.parametrize("kind", ["palette", "cutout", "rle"])
    def test_standard_input_to_standard_output(
        self, bundle_path: Path, photo: Path, tmp_path: Path, kind: str
    ) -> None:
        run("segment", bundle_path, photo, "-o", tmp_path, "--save", kind)
        (written,) = (path for path in tmp_path.glob("cells-017.*"))
        for source in ("-", photo):
            result = CliRunner().invoke(
                main,
                ["segment", str(bundle_path), str(source), "-o", "-", "--save", kind],
                input=photo.read_bytes(),
            )
            assert result.exit_code == 0
            expected = written.read_bytes()
            if source == "-":
                expected = expected.replace(b'"cells-017.png"', b'"-"')
            assert result.stdout_bytes == expected

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("-",), "add -o -"),
            (("-", "-", "-o", "-"), "takes one picture, not 2"),
            (("-", "-o", "-", "--save", "palette,index"), "would be several"),
            (("-", "-o", "-", "--save", "csv"), "would be several"),
            (("-", "-o", "-", "--json"), "leave one out"),
            (("nothing.png", "-o", "-"), "no such picture: nothing.png"),
        ],
    )
    def test_what_standard_output_cannot_take(
        self, bundle_path: Path, arguments: tuple[str, ...], says: str
    ) -> None:
        assert says in refused("segment", bundle_path, *arguments)

    def test_bytes_that_are_no_picture(self, bundle_path: Path) -> None:
        arguments = ["segment", str(bundle_path), "-", "-o", "-"]
        result = CliRunner().invoke(main, arguments, input=b"no picture")
        assert result.exit_code == 1
        assert result.stdout_bytes == b""
        assert "error: the picture is not a picture" in result.stderr


class TestResuming:
    def test_what_is_done_is_left_alone(
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
        # What is asked for first is there still only if it was not written over.
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
        assert skipped(report) == [True] * 3  # moved, not changed
        photos.mkdir()
        decode(tmp_path / "elsewhere" / "b.png").save(photos / "a.png")
        report = run_json("segment", bundle_path, photos, "-o", out, "--save", "index")
        assert report["pictures"][0]["files"] == ["a.png-2.index.png"]
        with Image.open(out / "a.index.png") as picture:
            expected = Segmenter.open(bundle_path).segment(tmp_path / "elsewhere" / "a.png").labels
            assert np.array_equal(np.asarray(picture), expected)

    def test_results_among_the_photos_are_no_photos(self, bundle_path: Path, photos: Path) -> None:
        command = ("segment", bundle_path, photos, "-o", photos)
        run(*command)
        result = CliRunner().invoke(main, [str(a) for a in (*command, "--json")])
        assert skipped(json.loads(result.stdout)) == [True] * 3
        assert "left out 6 files" in result.stderr

    def test_two_at_once_in_one_folder(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        from unet_edge.runtime.journal import opened

        with opened(tmp_path / "out"):
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
        assert result.stderr.splitlines()[-1] == "1 of 3 pictures could not be segmented"
        assert f"error: {photos / 'b.png'} is damaged" in result.stderr
        assert visible(tmp_path / "out") == ["a.index.png", "c.index.png", "shares.csv"]
        (photos / "b.png").write_bytes(good)
        assert skipped(run_json(*command)) == [True, False, True]


class TestTiles:
    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        """A photo of 450x300 px, for a grid of 192."""
        folder = tmp_path / "large"
        folder.mkdir()
        Image.fromarray(draw_cells(450, np.random.default_rng(1))[0][:300]).save(folder / "l.png")
        return folder / "l.png"

    def test_writes_what_the_api_gives(
        self, bundle_path: Path, large: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        options = ("--tiles", "--tile-overlap", "0.3", "--tile-scale", "0.8")
        run(
            "segment", bundle_path, large, "-o", out, *options,
            "--edges", "smooth", "--save", "index,probabilities",
        )  # fmt: skip
        expected = Segmenter.open(bundle_path).predict_tiles(large, Tiles(0.3, 0.8), edges="smooth")
        for name, plane in (
            ("l.index.png", expected.mask.labels),
            ("l.probability-0.png", expected.probabilities[0]),
            ("l.probability-1.png", expected.probabilities[1]),
        ):
            with Image.open(out / name) as picture:
                assert np.array_equal(np.asarray(picture), plane)
        data = CliRunner().invoke(
            main, ["segment", str(bundle_path), str(large), "-o", "-", "--tiles"]
        )
        with Image.open(io.BytesIO(data.stdout_bytes)) as picture:
            expected_labels = Segmenter.open(bundle_path).segment(large, tiles=Tiles()).labels
            assert np.array_equal(np.asarray(picture), expected_labels)

    def test_tiles_and_their_settings_are_told_apart(
        self, bundle_path: Path, large: Path, tmp_path: Path
    ) -> None:
        command = ("segment", bundle_path, large, "-o", tmp_path / "out", "--save", "index")
        ways: tuple[tuple[str, ...], ...] = (
            (), ("--tiles",), ("--tiles", "--tile-scale", "0.7"), ("--tiles", "--tile-overlap", "0")
        )  # fmt: skip
        for way in ways:
            assert skipped(run_json(*command, *way)) == [False]
            assert skipped(run_json(*command, *way)) == [True]
        # The defaults, said aloud, are the defaults.
        run(*command, "--tiles")
        assert skipped(
            run_json(*command, "--tiles", "--tile-overlap", "0.25", "--tile-scale", "1")
        ) == [True]

    def test_masks_of_before_there_were_tiles_are_done(
        self, bundle_path: Path, large: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        command = ("segment", bundle_path, large, "-o", out, "--save", "index")
        run(*command)
        *_, last = (out / ".segment.jsonl").read_text().splitlines()
        digest = Segmenter.open(bundle_path).digest
        assert json.loads(last)["by"] == {"model": digest, "edges": "nearest"}

    def test_killed_among_photos_in_tiles(
        self, bundle_path: Path, large: Path, tmp_path: Path
    ) -> None:
        shutil.copy(large, large.with_name("m.png"))
        out = tmp_path / "out"
        command = ["segment", str(bundle_path), str(large.parent), "-o", str(out),
                   "--save", "index", "--tiles"]  # fmt: skip
        # A photo is two lines of the journal and a file of two calls.
        done = subprocess.run(
            [sys.executable, "-c", KILLED, "6", "SIGKILL", *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        # 6 of 8 calls: one photo may be done, and which is up to the threads.
        assert skipped(run_json(*command)).count(True) <= 1
        assert (out / "l.index.png").read_bytes() == (out / "m.index.png").read_bytes()

    def test_ctrl_c_stops_between_tiles(self, bundle_path: Path, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        for index in range(6):
            cells = draw_cells(450, np.random.default_rng(index))[0]
            Image.fromarray(np.tile(cells, (5, 5, 1))).save(photos / f"{index}.png")
        out = tmp_path / "out"
        child = subprocess.Popen(
            [sys.executable, "-m", "unet_edge", "segment", str(bundle_path), str(photos),
             "-o", str(out), "--tiles", "--tile-overlap", "0.8", "--save", "index"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            while not out.is_dir() and child.poll() is None:
                time.sleep(0.01)
            time.sleep(0.5)  # among the tiles: 12 x 12 of them at least, for each photo
            started = time.monotonic()
            child.send_signal(signal.SIGINT)
            time.sleep(0.05)
            child.send_signal(signal.SIGINT)  # impatience changes nothing
            _, shown = child.communicate(timeout=60)
            waited = time.monotonic() - started
        finally:
            child.kill()
        assert child.returncode == 130, shown
        assert shown.strip() == "interrupted; what was finished is kept"
        assert not any(path.name.startswith(".0") for path in out.iterdir())
        # Six photos take over 3,000 tiles; what ends between tiles has done few of them.
        begun = (out / ".segment.jsonl").read_text() if (out / ".segment.jsonl").exists() else ""
        assert begun.count('"coverage"') < 6, waited

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("--tile-overlap", "0.5"), "--tile-overlap is for tiles: add --tiles"),
            (("--tile-scale", "0.5"), "--tile-scale is for tiles: add --tiles"),
            (("--tiles", "--tile-overlap", "1"), "tiles overlap by 1.0; choose from 0 to 0.9"),
            (("--tiles", "--tile-scale", "0"), "scale is 0.0; choose from 0.01 to 8.0"),
        ],
    )
    def test_settings_that_make_no_sense(
        self, bundle_path: Path, large: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
    ) -> None:
        output = refused("segment", bundle_path, large, "-o", tmp_path / "out", *arguments)
        assert says in output
        assert not (tmp_path / "out").exists()


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


# Ends the process at the n-th call of what changes the folder: os.replace and os.write.
KILLED = """
import itertools, os, pathlib, signal, sys
moment = int(sys.argv[1])
calls = itertools.count(1)  # several threads count
sent = getattr(signal, sys.argv[2])
if sent == signal.SIGINT:
    signal.signal(signal.SIGINT, signal.default_int_handler)
def counted(call):
    def wrapper(*arguments, **settings):
        if next(calls) == moment:
            os.kill(os.getpid(), sent)
        return call(*arguments, **settings)
    return wrapper
pathlib.Path.replace = counted(pathlib.Path.replace)
os.fsync = counted(os.fsync)
from unet_edge.cli import main
main(sys.argv[3:])
"""


class TestKilled:
    @pytest.fixture
    def whole(self, bundle_path: Path, photos: Path, tmp_path: Path) -> dict[str, bytes]:
        """What an uninterrupted run writes."""
        run("segment", bundle_path, photos, "-o", tmp_path / "whole", "--save", ALL)
        return {
            name: (tmp_path / "whole" / name).read_bytes() for name in visible(tmp_path / "whole")
        }

    @pytest.mark.parametrize(
        ("moment", "sent"),
        # A photo is 2 lines of the journal and 8 files of 2 calls each; 4 tables end it.
        [*((n, "SIGKILL") for n in (1, 2, 3, 9, 18, 19, 25, 56, 60)),
         *((n, "SIGINT") for n in (1, 2, 3, 12, 19))],
    )  # fmt: skip
    def test_the_next_run_ends_where_an_uninterrupted_one_does(
        self, bundle_path: Path, photos: Path, tmp_path: Path, whole: dict[str, bytes],
        moment: int, sent: str,
    ) -> None:  # fmt: skip
        out = tmp_path / "out"
        command = ["segment", str(bundle_path), str(photos), "-o", str(out), "--save", ALL]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(moment), sent, *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == (130 if sent == "SIGINT" else -signal.SIGKILL), done.stderr
        # Whole files only.
        for name in visible(out):
            assert (out / name).read_bytes() == whole[name]
        if sent == "SIGINT":
            assert "interrupted; what was finished is kept" in done.stderr
            assert [p.name for p in out.glob(".*")] in ([], [".segment.jsonl"])
        journal = out / ".segment.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        done_before = sum('"coverage"' in line for line in lines)
        if sent == "SIGKILL":  # after Ctrl-C, photos that were begun are finished
            assert done_before <= moment // 18
        report = run_json(*command)
        assert skipped(report).count(True) == done_before
        assert {name: (out / name).read_bytes() for name in visible(out)} == whole
        assert [path.name for path in out.glob(".*")] == [".segment.jsonl"]
        assert skipped(run_json(*command)) == [True] * 3

    def test_half_a_line_in_the_journal_and_a_file_aside(
        self, bundle_path: Path, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        command = ("segment", bundle_path, photos, "-o", out)
        run(*command)
        journal = out / ".segment.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
        last = "abc".index(json.loads(lines[-1])["name"])  # threads finish in any order
        (out / ".c.mask.png.abcd_123").write_bytes(b"half")
        (out / ".mine.png.abcd_123").write_bytes(b"of another program")
        assert skipped(run_json(*command)) == [index != last for index in range(3)]
        assert sorted(path.name for path in out.glob(".*")) == [
            ".mine.png.abcd_123", ".segment.jsonl"
        ]  # fmt: skip
        assert skipped(run_json(*command)) == [True] * 3

    def test_half_written_over_by_another_model(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        # Model A's masks, of which model B replaced the first file: A's must not be believed.
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
