"""`unet-edge segment --tiles` on real files."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image
from segmenting import KILLED, skipped

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.demo.cells import draw_cells
from unet_edge.images.placement import Pixels
from unet_edge.runtime.tile_settings import Tiles


@pytest.fixture(scope="module")
def cells() -> Pixels:
    """Generated cells, 450x450 px."""
    return draw_cells(450, np.random.default_rng(1))[0]


class TestTiles:
    @pytest.fixture
    def large(self, cells: Pixels, tmp_path: Path) -> Path:
        """A photo of 450x300 px, for a grid of 192."""
        folder = tmp_path / "large"
        folder.mkdir()
        Image.fromarray(cells[:300]).save(folder / "l.png")
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
        # The defaults, given as options, change nothing.
        run(*command, "--tiles")
        assert skipped(
            run_json(*command, "--tiles", "--tile-overlap", "0.25", "--tile-scale", "1")
        ) == [True]

    def test_without_tiles_the_log_is_as_before_there_were_tiles(
        self, bundle_path: Path, large: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        command = ("segment", bundle_path, large, "-o", out, "--save", "index")
        run(*command)
        *_, last = (out / ".segment.jsonl").read_text().splitlines()
        digest = Segmenter.open(bundle_path).digest
        assert json.loads(last)["by"] == {"model": digest, "edges": "nearest"}

    @pytest.mark.slow
    def test_killed_among_photos_in_tiles(
        self, bundle_path: Path, large: Path, tmp_path: Path
    ) -> None:
        shutil.copy(large, large.with_name("m.png"))
        out = tmp_path / "out"
        command = ["segment", str(bundle_path), str(large.parent), "-o", str(out),
                   "--save", "index", "--tiles"]  # fmt: skip
        # A photo is two lines of the log and a file of two calls.
        done = subprocess.run(
            [sys.executable, "-c", KILLED, "6", "SIGKILL", *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        # 6 of 8 calls: one photo may be done, and which is up to the threads.
        assert skipped(run_json(*command)).count(True) <= 1
        assert (out / "l.index.png").read_bytes() == (out / "m.index.png").read_bytes()

    @pytest.mark.slow
    def test_ctrl_c_stops_between_tiles(
        self, bundle_path: Path, cells: Pixels, tmp_path: Path
    ) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        Image.fromarray(np.tile(cells, (5, 5, 1))).save(photos / "0.png", compress_level=1)
        for index in range(1, 6):
            shutil.copy(photos / "0.png", photos / f"{index}.png")
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
            (("--tile-overlap", "0.5"), "--tile-overlap is given without --tiles; add --tiles"),
            (("--tile-scale", "0.5"), "--tile-scale is given without --tiles; add --tiles"),
            (
                ("--tiles", "--tile-overlap", "1"),
                "overlap of tiles is 1.0; it must be from 0 to 0.9",
            ),
            (
                ("--tiles", "--tile-scale", "0"),
                "scale of tiles is 0.0; it must be from 0.01 to 8.0",
            ),
        ],
    )
    def test_settings_that_make_no_sense(
        self, bundle_path: Path, large: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
    ) -> None:
        output = refused("segment", bundle_path, large, "-o", tmp_path / "out", *arguments)
        assert says in output
        assert not (tmp_path / "out").exists()
