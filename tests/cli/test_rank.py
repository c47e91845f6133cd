"""The rank command on the committed bundle: order, folder, pre-annotations, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.evaluation.uncertainty import uncertainty


@pytest.fixture
def many(sample_data: Path, tmp_path: Path) -> Path:
    """Six photos, of which two are one photo of another size, and one in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index in range(4):
        shutil.copy(sample_data / "images" / f"cells-{index:03}.png", folder / f"{index}.png")
    with Image.open(folder / "0.png") as picture:
        picture.resize((150, 150)).save(folder / "0 again.png")
    shutil.copy(sample_data / "images" / "cells-004.png", folder / "more" / "4.png")
    return folder


def test_photos_come_by_their_score_and_repeats_last(bundle_path: Path, many: Path) -> None:
    report = run_json("rank", bundle_path, many / "**" / "*")
    photos = report["pictures"]
    assert report["by"] == "flips"
    assert [photo["rank"] for photo in photos] == [1, 2, 3, 4, 5, 6]
    assert {photo["name"] for photo in photos} == {
        "0.png", "0 again.png", "1.png", "2.png", "3.png", "more/4.png",
    }  # fmt: skip
    scores = [photo["score"] for photo in photos]
    assert scores[:5] == sorted(scores[:5], reverse=True)
    pair = {"0.png", "0 again.png"}
    assert {photos[5]["name"], photos[5]["looks_like"]} == pair
    assert all(photo["looks_like"] is None for photo in photos[:5])
    segmenter = Segmenter.open(bundle_path)
    for photo in photos:
        expected = uncertainty(segmenter, photo["picture"], "flips").score()
        assert photo["score"] == pytest.approx(expected, abs=1e-12)
        shares = segmenter.segment(photo["picture"]).coverage()
        assert photo["shares"] == pytest.approx(shares, abs=1e-12)


@pytest.mark.parametrize("measure", ["margin", "entropy"])
def test_each_measure_has_its_own_scores(bundle_path: Path, many: Path, measure: str) -> None:
    text = run("rank", bundle_path, many, "--by", measure, "--score", "share", "--csv")
    segmenter = Segmenter.open(bundle_path)
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 5
    for row in rows:
        expected = uncertainty(segmenter, many / row["picture"], measure).score("share")
        assert float(row["score"]) == pytest.approx(expected, abs=1e-6)  # printed with 6 digits


def test_a_folder_holds_the_table_the_sheet_the_list_and_the_photos(
    bundle_path: Path, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "next"
    printed = run("rank", bundle_path, many, "-o", out, "--top", 2, "--copy")
    assert {path.name for path in out.iterdir()} == {
        "ranking.json", "ranking.csv", "ranking.png", "list.txt", "photos",
    }  # fmt: skip
    names = [
        row["picture"] for row in csv.DictReader((out / "ranking.csv").read_text().splitlines())
    ]
    assert len(names) == 5
    assert (out / "list.txt").read_text().splitlines() == names[:2]
    assert all(name in printed for name in names[:2])
    assert "the first 2 of 5 pictures" in printed
    for name in names[:2]:
        assert (out / "photos" / name).read_bytes() == (many / name).read_bytes()
    assert len(list((out / "photos").iterdir())) == 2
    with Image.open(out / "ranking.png") as sheet:
        # Two photos of 176 px, each beside its heat map, with gaps of 8 px.
        assert sheet.width == 2 * (2 * 176 + 3 * 8) + 3 * 8
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 100


def test_pre_annotations_are_the_masks_of_segment(
    bundle_path: Path, many: Path, tmp_path: Path
) -> None:
    masks = pytest.importorskip("pycocotools.mask")
    coco = pytest.importorskip("pycocotools.coco").COCO
    out = tmp_path / "next"
    kinds = ["coco", "coco-rle", "cvat", "label-studio"]
    run("rank", bundle_path, many, "-o", out, *(f"--annotations={kind}" for kind in kinds))
    segmenter = Segmenter.open(bundle_path)
    expected = {path.name: segmenter.segment(path).labels == 1 for path in many.glob("*.png")}
    for name in ("coco.json", "coco-rle.json"):
        read = coco(str(out / name))
        assert {image["file_name"] for image in read.loadImgs(read.getImgIds())} == set(expected)
        for image in read.loadImgs(read.getImgIds()):
            parts = [
                masks.decode(read.annToRLE(annotation))
                for annotation in read.loadAnns(read.getAnnIds(image["id"]))
            ]
            assert np.array_equal(np.any(parts, axis=0), expected[image["file_name"]])
    images = list(ElementTree.parse(out / "cvat.xml").iter("image"))
    assert [image.get("name") for image in images] == (out / "list.txt").read_text().splitlines()
    for image in images:
        (mask,) = image
        box = expected[image.get("name")]
        rows, columns = (np.flatnonzero(box.any(axis=axis)) for axis in (1, 0))
        assert (int(mask.get("top")), int(mask.get("left"))) == (rows[0], columns[0])
        runs = [int(run) for run in mask.get("rle").split(",")]
        assert sum(runs[1::2]) == box.sum()
    tasks = json.loads((out / "label-studio.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d=photos/{image.get('name').replace(' ', '%20')}" for image in images
    ]
    assert "membrane" in (out / "label-studio.xml").read_text()


def test_a_name_that_is_not_utf8_is_in_the_tasks_by_its_bytes(
    bundle_path: Path, many: Path, tmp_path: Path
) -> None:
    named = os.fsdecode(os.fsencode(many) + b"/\xff.png")
    try:
        shutil.copy(many / "1.png", named)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (many / "1.png").unlink()  # or the copy would be left out as a repeat
    out = tmp_path / "next"
    run("rank", bundle_path, many, "-o", out, "--annotations=label-studio")
    tasks = json.loads((out / "label-studio.json").read_text())
    assert "/data/local-files/?d=photos/%FF.png" in {task["data"]["image"] for task in tasks}


def test_pictures_that_cannot_be_read_are_named_and_the_others_ranked(
    bundle_path: Path, many: Path
) -> None:
    (many / "broken.png").write_bytes(b"not a picture")
    result = CliRunner().invoke(main, ["rank", str(bundle_path), str(many), "--json"])
    assert result.exit_code == 1
    assert "broken.png is not a picture that can be read" in result.stderr
    assert "1 of 6 pictures could not be read" in result.stderr
    report = json.loads(result.stdout)
    assert len(report["pictures"]) == 5
    assert [Path(error["picture"]).name for error in report["errors"]] == ["broken.png"]


def test_no_readable_picture_is_an_error_and_leaves_no_folder(
    bundle_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    out = tmp_path / "next"
    assert "is empty (0 bytes)" in refused("rank", bundle_path, tmp_path / "bad.png", "-o", out)
    assert not out.exists()


def test_an_earlier_ranking_is_replaced_unless_something_was_added(
    bundle_path: Path, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "next"
    run("rank", bundle_path, many, "-o", out, "--top", 2, "--copy")
    run("rank", bundle_path, many, "-o", out, "--top", 1)
    assert not (out / "photos").exists()
    run("rank", bundle_path, many, "-o", out, "--top", 1, "--copy")
    (out / "photos" / "0.json").write_text("{}")  # as labelme writes beside a photo
    found = refused("rank", bundle_path, many, "-o", out)
    assert "files that are not part of a ranking: photos/0.json" in found
    assert (out / "photos" / "0.json").exists()
    assert "not part of a ranking" in refused("rank", bundle_path, many, "-o", many)


def test_options_that_need_a_folder_or_exclude_each_other_are_refused(
    bundle_path: Path, many: Path
) -> None:
    for option in ("--copy", "--annotations=coco", "--edges=smooth", "--image-url=x"):
        found = refused("rank", bundle_path, many, option)
        assert f"{option.split('=')[0]} is given without a folder; add -o DIR" in found
    assert "exclude each other" in refused("rank", bundle_path, many, "--csv", "--json")


def test_an_interrupted_ranking_leaves_the_earlier_one(
    bundle_path: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unet_edge.evaluation import ranking_folder

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "next"
    run("rank", bundle_path, many, "-o", output, "--top", 2)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    monkeypatch.setattr(ranking_folder, "contact_sheet", interrupt)
    command = ["rank", bundle_path, many, "-o", output, "--top", 1]
    done = CliRunner().invoke(main, list(map(str, command)))
    assert done.exit_code == 130
    assert done.output.strip().endswith("interrupted; nothing was written")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"next", "photos"}
