"""A user's mistake ends in one line and a non-zero exit status, never in a traceback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from unet_edge.cli import main
from unet_edge.runtime.interpreters import install_command, interpreter_named


def run(*arguments: object) -> tuple[int, str]:
    """The exit status and all output; an exception that is not an exit fails the test."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def refused(*arguments: object) -> str:
    """Run a command that must fail; returns its error line."""
    status, output = run(*arguments)
    assert status == 1
    lines = [line for line in output.strip().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, output
    return lines[0]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((20, 30, 3), 99, np.uint8)).save(path)
    return path


class TestPictures:
    def test_missing(self, bundle_path: Path, tmp_path: Path) -> None:
        line = refused("segment", bundle_path, tmp_path / "none.jpg")
        assert f"no such picture or folder: {tmp_path / 'none.jpg'}" in line

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "is empty (0 bytes)"),
            (b"This is a letter, not a picture." * 9, "is not a picture that can be read"),
        ],
        ids=["empty", "text"],
    )
    def test_not_a_picture(
        self, bundle_path: Path, tmp_path: Path, content: bytes, says: str
    ) -> None:
        bad = tmp_path / "bad.png"
        bad.write_bytes(content)
        line = refused("segment", bundle_path, bad, "-o", tmp_path / "out")
        assert says in line
        assert str(bad) in line

    def test_truncated_among_good_ones_is_skipped(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        damaged = tmp_path / "damaged.png"
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(damaged)
        damaged.write_bytes(damaged.read_bytes()[:-3000])
        line = refused("segment", bundle_path, tmp_path, "-o", tmp_path / "out")
        assert f"{damaged} is damaged" in line
        assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == [
            "photo.mask.png",
            "photo.overlay.png",
        ]


class TestModels:
    def test_missing(self, photo: Path, tmp_path: Path) -> None:
        assert "no such model file" in refused("segment", tmp_path / "no.tflite", photo)

    @pytest.mark.parametrize(
        "command",
        [
            "verify",
            "tune",
            "benchmark",
            "inspect",
            "doctor",
            "diagnose",
            "export",
            "segment PHOTO",
            "evaluate --data .",
            "evaluate --all-files --data .",
        ],
    )
    def test_a_folder_that_does_not_exist(self, photo: Path, tmp_path: Path, command: str) -> None:
        absent = tmp_path / "runs" / "bundle"
        name, *rest = command.replace("PHOTO", str(photo)).split()
        assert re.match(
            rf"error: no such (model file or )?folder: {re.escape(str(absent))}(;|$)",
            refused(name, absent, *rest),
        )

    def test_a_keras_file_that_does_not_exist(self, photo: Path, tmp_path: Path) -> None:
        line = refused("segment", tmp_path / "absent.keras", photo)
        assert line == f"error: no such model file: {tmp_path / 'absent.keras'}"

    @pytest.mark.parametrize("name", ["model-int8.tflite", "model-float32.onnx"])
    def test_flipped_byte(self, bundle_path: Path, photo: Path, tmp_path: Path, name: str) -> None:
        data = bytearray((bundle_path / name).read_bytes())
        data[len(data) // 3] ^= 1
        damaged = tmp_path / name
        damaged.write_bytes(data)
        assert "SHA-256 differs" in refused("segment", damaged, photo)
        assert "SHA-256 differs" in refused("inspect", damaged)

    def test_truncated(self, bundle_path: Path, photo: Path, tmp_path: Path) -> None:
        damaged = tmp_path / "model.tflite"
        damaged.write_bytes((bundle_path / "model-float32.tflite").read_bytes()[:-2000])
        assert "carries no unet-edge contract" in refused("segment", damaged, photo)
        assert "carries no unet-edge contract" in refused("inspect", damaged)

    def test_no_model_at_all(self, photo: Path, tmp_path: Path) -> None:
        other = tmp_path / "model.tflite"
        other.write_bytes(b"hello world, I am not a model" * 10)
        assert "neither a TFLite nor an ONNX model" in refused("segment", other, photo)
        assert "neither a TFLite nor an ONNX model" in refused("inspect", other)

    def test_damaged_keras_file(self, run_path: Path, photo: Path, tmp_path: Path) -> None:
        shutil.copy(run_path / "spec.json", tmp_path)
        (tmp_path / "model.keras").write_bytes(b"PK\3\4 nothing of use")
        assert "damaged or not a Keras model" in refused("segment", tmp_path, photo)


class TestBundles:
    @pytest.fixture
    def copy(self, bundle_path: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(bundle_path, tmp_path / "bundle"))

    def test_not_a_bundle(self, tmp_path: Path) -> None:
        assert "is not a bundle" in refused("verify", tmp_path)

    def test_missing_file(self, copy: Path, photo: Path) -> None:
        (copy / "model-float16.tflite").unlink()
        for command in (["verify", copy], ["inspect", copy], ["segment", copy, photo]):
            line = refused(*command)
            assert "model-float16.tflite is missing" in line
            assert "copy the complete folder again" in line

    def test_flipped_byte(self, copy: Path) -> None:
        for name in ("model-int8.onnx", "golden/01.png", "golden/01.mask.png"):
            original = (copy / name).read_bytes()
            damaged = bytearray(original)
            damaged[len(damaged) // 2] ^= 1
            (copy / name).write_bytes(damaged)
            assert f"{name} is damaged" in refused("inspect", copy)
            (copy / name).write_bytes(original)
        assert run("inspect", copy)[0] == 0

    def test_unknown_file(self, bundle_path: Path, photo: Path) -> None:
        line = refused("segment", bundle_path, photo, "--file", "model-int4.tflite")
        assert (
            "the file must be one of model-float32.tflite, model-float16.tflite, model-int8.tflite"
            in line
        )

    def test_export_leaves_other_folders_alone(self, run_path: Path, tmp_path: Path) -> None:
        (tmp_path / "diary.txt").write_text("mine")
        assert "exists and is not a bundle" in refused("export", run_path, "-o", tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]


class TestData:
    @pytest.fixture
    def copy(self, sample_data: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(sample_data, tmp_path / "data"))

    def train(self, data: Path, *more: object) -> str:
        output = data.parent / "run"
        line = refused("train", data, "--encoder-weights", "none", "-o", output, *more)
        assert not output.exists(), "a refused run leaves nothing behind"
        return line

    def test_size_mismatch(self, copy: Path) -> None:
        mask = copy / "masks" / "cells-003.png"
        Image.open(mask).resize((190, 192)).save(mask)
        line = self.train(copy)
        assert "cells-003.png: the mask has 190x192 px, the picture 192x192" in line

    def test_label_outside_the_classes(self, copy: Path) -> None:
        mask = copy / "masks" / "cells-003.png"
        values = np.array(Image.open(mask))
        values[0, 0] = 7
        Image.fromarray(values).save(mask)
        line = self.train(copy, "--masks", "index")
        assert f"{mask}: holds 7, outside the 2 classes" in line
        assert "--ignore" in line

    def test_missing_mask(self, copy: Path) -> None:
        (copy / "masks" / "cells-003.png").unlink()
        assert "cells-003.png: has no mask" in self.train(copy)

    def test_missing_folder(self, tmp_path: Path) -> None:
        assert "no such data folder" in self.train(tmp_path / "none")

    def test_size_that_does_not_fit_the_network(self, copy: Path) -> None:
        assert "needs multiples of 16 px" in self.train(copy, "--size", "100")

    def test_weights_of_another_alpha(self, copy: Path, tmp_path: Path) -> None:
        assert "no such weights file" in self.train(copy, "--encoder-weights", tmp_path / "w.h5")

    def test_a_finished_run_is_not_overwritten(self, copy: Path, run_path: Path) -> None:
        before = (run_path / "model.keras").read_bytes()
        assert "--overwrite" in refused("train", copy, "--encoder-weights", "none", "-o", run_path)
        assert (run_path / "model.keras").read_bytes() == before


class TestInterpreters:
    """An interpreter that is not installed: its import is blocked."""

    BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from unet_edge.cli import main
main({arguments})
"""

    def run_without(self, names: set[str], *arguments: object) -> subprocess.CompletedProcess[str]:
        script = self.BLOCKED.format(names=names, arguments=[str(a) for a in arguments])
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    def test_no_tflite_interpreter(self, bundle_path: Path, photo: Path, tmp_path: Path) -> None:
        absent = {"ai_edge_litert", "tflite_runtime", "tensorflow"}
        model = bundle_path / "model-int8.tflite"
        done = self.run_without(absent, "segment", model, photo, "-o", tmp_path / "out")
        assert done.returncode == 1
        error = done.stderr.strip()
        assert error.startswith(
            "error: no TFLite interpreter works here: ai-edge-litert is not installed; "
            "tflite-runtime is not installed"
        )
        assert error.endswith(f"; run: {install_command(interpreter_named('ai-edge-litert'))}")

    def test_no_onnx_runtime(self, bundle_path: Path, photo: Path) -> None:
        done = self.run_without({"onnxruntime"}, "segment", bundle_path / "model-int8.onnx", photo)
        assert done.returncode == 1
        assert f"run: {install_command(interpreter_named('onnxruntime'))}" in done.stderr

    def test_a_bundle_falls_back_to_what_is_installed(
        self, bundle_path: Path, photo: Path, tmp_path: Path
    ) -> None:
        absent = {"ai_edge_litert", "tflite_runtime", "tensorflow"}
        done = self.run_without(absent, "segment", bundle_path, photo, "-o", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert re.search(r"by model-\w+\.onnx$", done.stdout, re.MULTILINE)

    def test_no_keras(self, sample_data: Path, tmp_path: Path) -> None:
        done = self.run_without({"keras"}, "train", sample_data, "-o", tmp_path / "run")
        assert done.returncode == 1
        assert "pip install 'unet-edge[train]'" in done.stderr


class TestOutputs:
    """Places that cannot be written are refused before the work, in one line."""

    @pytest.fixture
    def taken(self, tmp_path: Path) -> Path:
        """A file where a folder should be."""
        path = tmp_path / "taken"
        path.write_text("a file")
        return path

    def test_segment(self, bundle_path: Path, photo: Path, taken: Path) -> None:
        assert str(taken) in refused("segment", bundle_path, photo, "-o", taken)
        assert taken.read_text() == "a file"

    def test_benchmark(self, bundle_path: Path, taken: Path) -> None:
        assert "cannot write" in refused("benchmark", bundle_path, "-o", taken / "figures.json")

    def test_train_leaves_a_folder_of_other_things_alone(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "samples").mkdir()
        (tmp_path / "samples" / "mine.png").write_bytes(b"mine")
        line = refused("train", sample_data, "--encoder-weights", "none", "-o", tmp_path)
        assert "holds files that are not a run's" in line
        assert (tmp_path / "samples" / "mine.png").read_bytes() == b"mine"

    def test_verify_of_a_single_file(self, bundle_path: Path) -> None:
        assert "is not a bundle" in refused("verify", bundle_path / "model-int8.tflite")
