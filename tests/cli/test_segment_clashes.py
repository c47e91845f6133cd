"""`unet-edge segment` never changes a file that it did not write."""

from __future__ import annotations

import errno
import io
import json
import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image
from segmenting import visible

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.images.decoding import decode


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


# Photos, masks, and everything that segment could write beside them.
_STEMS = ("p", "q", "p.mask", "p.png", "p.overlay", "p.png-2", "shares", "polygons")
_PLACES = (
    *(f"{stem}{suffix}" for stem in _STEMS for suffix in (".png", ".bmp")),
    *(f"p{end}" for end in (".index.png", ".cutout.png", ".probability-1.png", ".polygons.json")),
    *("p.rle.json", "shares.csv", "shares.jsonl", "polygons.json", "rle.json", ".segment.jsonl"),
    *(".p.mask.png.original", ".polygons.json.abcd_123"),
)
_KINDS = ("index", "palette", "overlay", "cutout", "probabilities", "polygons", "rle", "csv",
          "jsonl")  # fmt: skip


def put(draw: random.Random, folder: Path, name: str) -> None:
    """Put something of the user's at a path: mostly a photo, or a text, folder or link."""
    path = folder / name
    if os.path.lexists(path):
        if path.is_dir() and not path.is_symlink():
            return
        path.unlink()
    kind = draw.choices(("photo", "text", "folder", "link", "broken link"), (12, 3, 1, 1, 1))[0]
    match kind:
        case "photo":
            path.write_bytes(png(draw.randrange(4)))
        case "text":
            path.write_text(f"mine {draw.random()}")
        case "folder":
            path.mkdir()
            (path / "mine.txt").write_text("mine")
        case "link":
            path.symlink_to(folder.parent / "original.png")
        case _:
            path.symlink_to("nowhere")


def contents(folder: Path) -> dict[str, Any]:
    """What is at every path: bytes, a link's target, or that it is a folder."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path)] = ("link", str(path.readlink()))
        else:
            found[str(path)] = path.read_bytes() if path.is_file() else "folder"
    return found


@pytest.mark.parametrize("seed", range(25))
def test_whatever_names_clash(bundle_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    with TemporaryDirectory() as name:
        root = Path(name)
        photos = root / "photos"
        photos.mkdir()
        (root / "original.png").write_bytes(png(9))
        (photos / "p.png").write_bytes(png(8))
        out = photos if draw.random() < 0.6 else root / "out"
        out.mkdir(exist_ok=True)
        results: dict[str, Any] = {}
        for _ in range(3):
            for _ in range(draw.randrange(6)):
                put(draw, draw.choice((photos, out)), draw.choice(_PLACES))
            if results and draw.random() < 0.5:  # a mask that is corrected by hand
                path = Path(draw.choice(list(results)))
                if path.is_file():
                    path.write_bytes(b"corrected" + path.read_bytes())
            before = contents(root)
            save = ",".join(draw.sample(_KINDS, draw.randint(1, 4)))
            flags = draw.sample(["--again", "--edges=smooth", "--tiles"], draw.randrange(3))
            arguments = ["segment", bundle_path, photos, "-o", out, "--save", save, *flags]
            result = CliRunner().invoke(main, [str(a) for a in arguments])
            assert result.exit_code in (0, 1)
            assert result.exit_code == 0 or "error: " in result.output
            assert result.exception is None or isinstance(result.exception, SystemExit)
            after = contents(root)
            for place, content in before.items():
                if results.get(place) != content:
                    assert after.get(place) == content, (place, arguments)
            results = {
                place: content
                for place, content in after.items()
                if before.get(place) != content or results.get(place) == content
            }


class TestAmongPhotos:
    def test_photos_called_as_the_results_of_another(self, bundle_path: Path, photos: Path) -> None:
        folder = photos / "ip"
        folder.mkdir()
        for index, name in enumerate(("p.png", "p.mask.png", "p.overlay.png")):
            (folder / name).write_bytes(png(index))
        before = contents(folder)
        arguments = ["segment", str(bundle_path), str(folder), "-o", str(folder), "--json"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert {path: contents(folder)[path] for path in before} == before
        files = [entry["files"][0] for entry in json.loads(result.stdout)["pictures"]]
        assert files == ["p.mask.mask.png", "p.overlay.mask.png", "p.png.mask.png"]
        assert "p.png as p.png.mask.png" in result.stderr
        again = json.loads(CliRunner().invoke(main, arguments).stdout)["pictures"]
        assert [entry["skipped"] for entry in again] == [True] * 3

    def test_a_mask_made_by_hand(self, bundle_path: Path, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "cells-017.mask.png").write_bytes(b"by hand")
        report = run_json("segment", bundle_path, photo, "-o", tmp_path, "--save", "palette")
        assert report["pictures"][0]["files"] == ["cells-017.png.mask.png"]
        assert (tmp_path / "cells-017.mask.png").read_bytes() == b"by hand"

    def test_a_mask_corrected_by_hand(self, bundle_path: Path, photo: Path, tmp_path: Path) -> None:
        command = ("segment", bundle_path, photo, "-o", tmp_path, "--save", "palette")
        run(*command)
        mask = tmp_path / "cells-017.mask.png"
        written = mask.read_bytes()
        mask.write_bytes(written[:-1] + b"!")
        assert "was changed since segment wrote it" in refused(*command, "--again")
        assert mask.read_bytes() == written[:-1] + b"!"
        mask.write_bytes(written)  # as from a backup, with a time of its own
        run(*command, "--again")
        mask.unlink()
        run(*command)
        assert mask.read_bytes() == written

    def test_a_kind_whose_name_is_taken_later(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        command = ("segment", bundle_path, photo, "-o", tmp_path, "--save")
        run(*command, "palette")
        (tmp_path / "cells-017.overlay.png").write_bytes(b"mine")
        assert "cells-017.overlay.png exists and was not" in refused(*command, "palette,overlay")
        assert (tmp_path / "cells-017.overlay.png").read_bytes() == b"mine"

    @pytest.mark.parametrize("kind", ["polygons", "rle", "csv", "jsonl"])
    def test_files_of_all_photos_are_refused_before_the_work(
        self, bundle_path: Path, photo: Path, tmp_path: Path, kind: str
    ) -> None:
        for name in ("shares.csv", "shares.jsonl", "polygons.json", "rle.json"):
            (tmp_path / name).write_text("annotations of a data set")
        line = refused("segment", bundle_path, photo, "-o", tmp_path, "--save", kind)
        assert "exists and was not written by segment" in line
        assert len(visible(tmp_path)) == 4


class TestTheDefaultFolder:
    def test_holds_masks_of_a_data_set(
        self, bundle_path: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        masks = tmp_path / "masks"
        masks.mkdir()
        (masks / "a.png").write_bytes(png(0))
        line = refused("segment", bundle_path, photo)
        assert "the folder masks holds files that segment did not write, such as a.png" in line
        assert visible(masks) == ["a.png"]
        run("segment", bundle_path, photo, "-o", "masks")  # where it is named
        run("segment", bundle_path, photo)  # and where results are already

    def test_is_made(
        self, bundle_path: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run("segment", bundle_path, photo)
        run("segment", bundle_path, photo, "--again")
        assert visible(tmp_path / "masks") == ["cells-017.mask.png", "cells-017.overlay.png"]


class TestNames:
    def test_a_log_of_another_program(self, bundle_path: Path, photo: Path, tmp_path: Path) -> None:
        (tmp_path / ".segment.jsonl").write_text("mine\n")
        line = refused("segment", bundle_path, photo, "-o", tmp_path)
        assert "is not a resume log of unet-edge segment" in line
        assert (tmp_path / ".segment.jsonl").read_text() == "mine\n"

    @pytest.mark.parametrize("length", [213, 225, 234, 251])
    def test_long_names(self, bundle_path: Path, photo: Path, tmp_path: Path, length: int) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        for name in ("a" * length, "a" * (length - 1) + "b", "short"):
            decode(photo).save(folder / f"{name}.png")
        command = ("segment", bundle_path, folder, "-o", tmp_path / "out")
        report = run_json(*command)
        assert len({file for entry in report["pictures"] for file in entry["files"]}) == 6
        assert [entry["skipped"] for entry in run_json(*command)["pictures"]] == [True] * 3

    def test_a_name_taken_by_a_folder(self, bundle_path: Path, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "cells-017.mask.png").mkdir()
        report = run_json("segment", bundle_path, photo, "-o", tmp_path)
        assert report["pictures"][0]["files"][0] == "cells-017.png.mask.png"

    def test_a_file_that_appears_during_the_run_is_left_alone(
        self, bundle_path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = os.link

        def taken(source: Path, target: Path) -> None:
            if target.name.startswith("b."):
                raise FileExistsError(17, "File exists", str(target))
            link(source, target)

        monkeypatch.setattr(os, "link", taken)  # another program was faster
        out = tmp_path / "out"
        line = refused("segment", bundle_path, photos, "-o", out, "--save", "index")
        assert "b.index.png exists and was not written by segment" in line
        assert visible(out) == ["a.index.png", "c.index.png"]
        monkeypatch.undo()
        (out / "b.index.png").write_bytes(b"mine")
        assert "b.index.png exists" in refused("segment", bundle_path, photos, "-o", out,
                                                 "--save", "index")  # fmt: skip
        assert (out / "b.index.png").read_bytes() == b"mine"


class TestOneBadPicture:
    """A bad picture gets an error; the other pictures are segmented."""

    def test_too_little_memory(
        self, bundle_path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        segment = Segmenter.segment

        def fail(self: Segmenter, source: Any, **settings: Any) -> Any:
            if source.size == (300, 200):  # b.png
                raise MemoryError
            return segment(self, source, **settings)

        monkeypatch.setattr(Segmenter, "segment", fail)
        out = tmp_path / "out"
        line = refused("segment", bundle_path, photos, "-o", out, "--save", "index")
        assert f"{photos / 'b.png'} needs more memory than is free" in line
        assert visible(out) == ["a.index.png", "c.index.png"]

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENAMETOOLONG, errno.EISDIR])
    def test_a_name_that_the_file_system_refuses(
        self, bundle_path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        number: int,
    ) -> None:  # fmt: skip
        link = os.link

        def as_on_fat(source: Path, target: Path) -> None:
            if target.name.startswith("b."):
                raise OSError(number, os.strerror(number), str(source), None, str(target))
            link(source, target)

        monkeypatch.setattr(os, "link", as_on_fat)
        monkeypatch.setattr(Path, "replace", as_on_fat)
        out = tmp_path / "out"
        line = refused("segment", bundle_path, photos, "-o", out, "--save", "index")
        assert f"cannot write {out / 'b.index.png'}: {os.strerror(number)}" in line
        assert visible(out) == ["a.index.png", "c.index.png"]

    def test_a_full_disk_ends_the_run(
        self, bundle_path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        line = refused("segment", bundle_path, photos, "-o", tmp_path / "out")
        log = tmp_path / "out" / ".segment.jsonl"  # the first file that reaches the disk
        assert line.strip() == f"error: cannot use {log}: No space left on device"


class TestOtherCommands:
    def test_preview(self, sample_data: Path, tmp_path: Path) -> None:
        command = ("data", "preview", sample_data, "--classes", "cell,membrane", "--count", 1)
        photo = tmp_path / "photo.png"
        photo.write_bytes(png(0))
        assert "was not written by data preview" in refused(*command, "-o", photo)
        assert photo.read_bytes() == png(0)
        for _ in range(2):  # an earlier preview is replaced
            run(*command, "-o", tmp_path / "preview.png")

    def test_benchmark(self, bundle_path: Path, tmp_path: Path) -> None:
        mine = tmp_path / "mine.json"
        mine.write_text('{"files": []}')
        for place in (("-o", mine), ("-o", tmp_path / "new.json", "--html", mine)):
            assert "was not written by benchmark" in refused("benchmark", bundle_path, *place)
        both = tmp_path / "both"
        assert "name two files" in refused("benchmark", bundle_path, "-o", both, "--html", both)
        assert mine.read_text() == '{"files": []}'
