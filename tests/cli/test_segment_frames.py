"""Pictures of several frames: `unet-edge segment` uses the first, or all with --frames."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run_json
from PIL import Image

from unet_edge.cli import main
from unet_edge.images.picture_file import count_frames


def frames() -> list[Image.Image]:
    random = np.random.default_rng(1)
    return [Image.fromarray(random.integers(0, 255, (24, 32, 3), np.uint8)) for _ in range(3)]


def mjpeg() -> bytes:
    stream = io.BytesIO()
    for frame in frames():
        frame.save(stream, "JPEG")
    return stream.getvalue()


def several(folder: Path, suffix: str) -> Path:
    path = folder / f"several.{suffix}"
    if suffix == "jpg":
        path.write_bytes(mjpeg())
        return path
    first, *others = frames()
    settings: dict[str, Any] = {"duration": 40} if suffix != "tif" else {}
    first.save(path, save_all=True, append_images=others, **settings)
    return path


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png", "jpg"])
def test_the_note_and_the_json(bundle_path: Path, tmp_path: Path, suffix: str) -> None:
    path = several(tmp_path, suffix)
    arguments = ["segment", str(bundle_path), str(path), "-o", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    fix = "" if suffix == "jpg" else "; for all of them, add --frames"
    assert result.stderr == f"{path}: 3 frames; only the first is used{fix}\n"
    assert json.loads(result.stdout)["pictures"][0]["frames"] == 3


def test_mjpeg_on_standard_input(bundle_path: Path) -> None:
    arguments = ["segment", str(bundle_path), "-", "-o", "-"]
    result = CliRunner().invoke(main, arguments, input=mjpeg())
    assert result.exit_code == 0
    assert result.stderr == (
        "standard input: 3 frames; only the first is used; for all of them, add --frames\n"
    )
    assert result.stdout_bytes.startswith(b"\x89PNG")


def test_many_pictures_of_several_frames(bundle_path: Path, tmp_path: Path) -> None:
    for number in range(5):
        several(tmp_path, "gif").rename(tmp_path / f"{number}.gif")
    arguments = ["segment", str(bundle_path), str(tmp_path), "-o", str(tmp_path / "out")]
    lines = CliRunner().invoke(main, arguments).stderr.splitlines()
    assert len(lines) == 4
    assert lines[-1] == (
        "5 pictures hold several frames; only the first of each is used; for all of them, add "
        "--frames"
    )


def test_one_frame_gives_no_note(bundle_path: Path, tmp_path: Path) -> None:
    first, second, _ = frames()
    for suffix in ("tif", "gif", "webp", "png", "jpg", "bmp"):
        first.save(tmp_path / f"{suffix}.{suffix}")
        assert count_frames(tmp_path / f"{suffix}.{suffix}") == 1
    # What a phone writes: a second view behind the first.
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    assert count_frames(tmp_path / "phone.jpg") == 1
    assert count_frames(b"") == count_frames(b"no picture") == 1
    report = run_json("segment", bundle_path, tmp_path, "-o", tmp_path / "out")
    assert not any("frames" in entry for entry in report["pictures"])


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_masks_of_all_frames_are_those_of_each_frame_as_a_file(
    bundle_path: Path, tmp_path: Path, suffix: str
) -> None:
    path = several(tmp_path, suffix)
    (tmp_path / "single").mkdir()
    with Image.open(path) as file:
        for index in range(3):
            file.seek(index)
            file.convert("RGB").save(tmp_path / f"single/{index + 1}.png")
    run_json("segment", bundle_path, tmp_path / "single", "-o", tmp_path / "masks", *SAVED)
    report = run_json("segment", bundle_path, path, "-o", tmp_path / "out", "--frames", *SAVED)
    assert [entry["picture"] for entry in report["pictures"]] == [
        f"{path}/{number:04}" for number in (1, 2, 3)
    ]
    masks = [np.asarray(Image.open(tmp_path / f"masks/{n}.index.png")) for n in (1, 2, 3)]
    found = [np.asarray(Image.open(tmp_path / f"out/several-000{n}.index.png")) for n in (1, 2, 3)]
    assert np.array_equal(found, masks)
    assert not np.array_equal(masks[0], masks[1])
    assert (tmp_path / "out/several-0002.overlay.png").is_file()
    table = (tmp_path / "out/shares.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table[1:]] == [
        f"several.{suffix}/{number:04}" for number in (1, 2, 3)
    ]
    polygons = json.loads((tmp_path / "out/polygons.json").read_text())
    assert polygons["images"][2]["file_name"] == f"several.{suffix}/0003"


SAVED = ["--save", "index,overlay,csv,polygons"]


def test_a_run_over_frames_is_resumed(bundle_path: Path, tmp_path: Path) -> None:
    path = several(tmp_path, "tif")
    command = ["segment", bundle_path, path, "-o", tmp_path / "out", "--frames"]
    run_json(*command)
    missing = tmp_path / "out/several-0002.mask.png"
    missing.unlink()
    assert [entry["skipped"] for entry in run_json(*command)["pictures"]] == [True, False, True]
    assert missing.is_file()
    frames()[0].save(path, save_all=True, append_images=frames()[:1])  # other pages
    assert [entry["skipped"] for entry in run_json(*command)["pictures"]] == [False, False]


def test_frames_of_files_with_the_same_stem_keep_apart(bundle_path: Path, tmp_path: Path) -> None:
    several(tmp_path, "tif")
    several(tmp_path, "gif")
    frames()[0].save(tmp_path / "one.tif")
    report = run_json("segment", bundle_path, tmp_path, "-o", tmp_path / "out", "--frames")
    assert [entry["files"][0] for entry in report["pictures"]] == [
        "one.mask.png",
        *(f"several.gif-000{number}.mask.png" for number in (1, 2, 3)),
        *(f"several.tif-000{number}.mask.png" for number in (1, 2, 3)),
    ]


def test_frames_do_not_fit_one_file(bundle_path: Path, tmp_path: Path) -> None:
    path = several(tmp_path, "tif")
    assert "name a folder with -o" in refused("segment", bundle_path, path, "-o", "-", "--frames")
