"""`unet-edge segment` on real files: what goes in, what comes out."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image
from segmenting import ALL, skipped, visible

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.dataset.coco import CocoFile
from unet_edge.images.decoding import decode, read_photo
from unet_edge.masks.mask import LegendPlace
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.runtime.segmenter import read_spec


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

    @pytest.mark.parametrize("legend", [None, "none", "beside"])
    def test_an_overlay_has_its_legend_where_it_was_asked_for(
        self, legend: LegendPlace | None, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        option = ["--legend", legend] if legend else []
        run("segment", bundle_path, photo, "-o", tmp_path, "--save", "overlay", *option)
        mask = Segmenter.open(bundle_path).segment(photo)
        expected = mask.overlay(photo, legend=legend or "on")
        with Image.open(tmp_path / "cells-017.overlay.png") as overlay:
            np.testing.assert_array_equal(np.asarray(overlay), np.asarray(expected))
        command = [sys.executable, "-m", "unet_edge", "segment"]
        streamed = subprocess.run(
            [*command, str(bundle_path), str(photo), *option, "-o", "-", "--save", "overlay"],
            capture_output=True,
            check=True,
        )
        assert streamed.stdout == (tmp_path / "cells-017.overlay.png").read_bytes()

    def test_another_legend_draws_the_overlay_again(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        once = ["segment", bundle_path, photo, "-o", tmp_path]
        run(*once)
        assert skipped(run_json(*once, "--legend", "on")) == [True], "it is the default"
        assert skipped(run_json(*once, "--legend", "beside")) == [False]
        assert skipped(run_json(*once, "--legend", "beside")) == [True]

    def test_a_legend_without_an_overlay_is_refused(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        command = ["segment", bundle_path, photo, "-o", tmp_path, "--save", "index"]
        assert "add overlay to --save" in refused(*command, "--legend", "none")

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
        # If the photo were decoded first, the mask would differ.
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
            "from unet_edge.system.timing import peak_memory\n"
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
                file = CocoFile.read(out / f"{path.stem}.{kind}.json")
                (found,) = file.draw(segmenter.spec.classes, take_crowds=False)
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
            file = CocoFile.read(out / f"{kind}.json")
            found = file.draw(segmenter.spec.classes, take_crowds=False)
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
        from converters.tflite.conversion import to_tflite
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
        assert "--save masks is unknown; choose from index" in refused(
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
        assert f"match {photos / '*.webp'}" in refused("segment", bundle_path, photos / "*.webp")

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
            (("-", "-", "-o", "-"), "2 pictures for -o -; -o - takes one picture"),
            (
                ("-", "-o", "-", "--save", "palette,index"),
                "--save palette,index cannot go to standard output; -o - takes one file",
            ),
            (("-", "-o", "-", "--save", "csv"), "--save csv cannot go to standard output"),
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
