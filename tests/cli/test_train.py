"""train, resume and export: errors before Keras is loaded, Ctrl-C, and unfinished runs."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner
from command_line import refused
from sealing import seal_manifest

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.cli import main
from unet_edge.cli.output import print_note
from unet_edge.cli.training import _chosen
from unet_edge.cli.workstation import _next_steps
from unet_edge.errors import ConfigError
from unet_edge.runtime.run_folder import CHECKPOINT_FILE

WITHOUT_KERAS = """
import sys
sys.modules["keras"] = sys.modules["tensorflow"] = None
from unet_edge.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def unfinished(sample_data: Path, tmp_path: Path) -> Path:
    """The folder of a run that was killed before its first round ended."""
    run = tmp_path / "unfinished"
    (run / "progress").mkdir(parents=True)
    (run / "progress" / "config.toml").write_text(f'data = "{sample_data}"\nsteps = 4\n')
    return run


class TestBeforeKerasIsLoaded:
    """Keras takes half a minute to load on a slow machine. These errors come first."""

    def error(self, *arguments: object) -> str:
        command = [sys.executable, "-c", WITHOUT_KERAS, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        return done.stderr.strip()

    def test_a_missing_data_folder(self, tmp_path: Path) -> None:
        assert f"no such data folder: {tmp_path / 'catz'}" in self.error("train", tmp_path / "catz")

    def test_an_unfinished_run_in_the_folder(self, sample_data: Path, unfinished: Path) -> None:
        error = self.error("train", sample_data, "-o", unfinished)
        assert f"holds an unfinished run; finish it with 'unet-edge resume {unfinished}'" in error

    def test_a_missing_weights_file(self, sample_data: Path, tmp_path: Path) -> None:
        error = self.error(
            "train", sample_data, "-o", tmp_path / "run", "--encoder-weights", "w.h5"
        )
        assert "no such weights file" in error

    def test_a_missing_teacher(self, sample_data: Path, tmp_path: Path) -> None:
        error = self.error(
            "train", sample_data, "-o", tmp_path / "run", "--teacher", tmp_path / "x"
        )
        assert f"no such folder: {tmp_path / 'x'}" in error

    def test_a_missing_run_to_start_from(self, sample_data: Path, tmp_path: Path) -> None:
        error = self.error(
            "train", sample_data, "-o", tmp_path / "run", "--weights", tmp_path / "x"
        )
        assert f"no such folder: {tmp_path / 'x'}" in error

    def test_nothing_to_resume(self, run_path: Path, tmp_path: Path) -> None:
        assert f"no such folder: {tmp_path / 'x'}" in self.error("resume", tmp_path / "x")
        error = self.error("resume", run_path)
        assert f"is finished; export it with 'unet-edge export {run_path}'" in error

    def test_a_missing_run_to_export(self, tmp_path: Path) -> None:
        assert self.error("export", tmp_path / "x").startswith(
            f"error: no such folder: {tmp_path / 'x'}"
        )

    def test_an_unfinished_run_without_a_model(self, sample_data: Path, unfinished: Path) -> None:
        for command in (["export"], ["evaluate", "--data", sample_data], ["inspect"]):
            error = self.error(*command, unfinished)
            assert f"{unfinished} is an unfinished run without a finished round" in error
            assert error.endswith(f"finish it with 'unet-edge resume {unfinished}'")

    def test_what_is_right_goes_on_to_load_keras(self, sample_data: Path, tmp_path: Path) -> None:
        assert "needs keras" in self.error("train", sample_data, "-o", tmp_path / "run")


class TestStart:
    """Options together with --weights."""

    def test_an_encoder_of_elsewhere_is_refused(self, sample_data: Path, run_path: Path) -> None:
        start = ("train", sample_data, "--weights", run_path)
        line = refused(*start, "--encoder-weights", "imagenet")
        assert "--encoder-weights is given, but with --weights all weights come from" in line
        line = refused(*start, "--alpha", 0.5)
        assert f"alpha is 0.5, but the network of {run_path} has alpha 0.25; omit --alpha" in line

    def test_an_option_replaces_the_start_of_a_file(self, run_path: Path, tmp_path: Path) -> None:
        """Such as the config.toml of an earlier run, which names every setting."""
        file, given = tmp_path / "config.toml", {"data": "cells", "weights": str(run_path)}
        file.write_text('encoder_weights = "imagenet"\nsteps = 7\n')
        config = _chosen(given, file)
        assert (config.steps, config.weights, config.encoder_weights) == (7, run_path, "none")
        assert config.classes == ("cell", "membrane")  # the run's, since the file has none
        file.write_text(f'weights = "{tmp_path / "gone"}"\nweights_sha256 = "ab"\n')
        config = _chosen(given, file)
        assert (config.weights, config.weights_sha256) == (run_path, None)

    def test_what_a_file_starts_from_is_kept(self, run_path: Path, tmp_path: Path) -> None:
        file = tmp_path / "config.toml"
        file.write_text(f'weights = "{run_path}"\nweights_sha256 = "ab"\nsize = [64, 64]\n')
        config = _chosen({"data": "cells"}, file)
        assert (config.weights, config.weights_sha256) == (run_path, "ab")
        assert config.size == (64, 64)
        file.write_text(file.read_text() + 'encoder_weights = "imagenet"\n')
        with pytest.raises(ConfigError, match="encoder_weights is imagenet, but all weights come"):
            _chosen({"data": "cells"}, file)


class TestControlC:
    @pytest.fixture
    def interrupt_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def note(line: str) -> None:
            print_note(line)
            if line.startswith(("round 1 of 2", "continuing after")):
                raise KeyboardInterrupt

        monkeypatch.setattr("unet_edge.cli.training.print_note", note)

    def interrupted(self, *arguments: object) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 130, result.output
        return result.stderr.strip().splitlines()[-1]

    def train(self, data: Path, run: Path, *more: object) -> str:
        network = ("--architecture", "unet_mini", "--size", 32, "--batch-size", 2)
        steps = ("--steps", 4, "--rounds", 2)
        return self.interrupted("train", data, "-o", run, *network, *steps, *more)

    @pytest.mark.usefixtures("interrupt_at")
    def test_the_kept_rounds_and_the_next_command_are_named(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        kept = f"interrupted; kept: round 1 of 2; finish it with: unet-edge resume {run}"
        assert self.train(sample_data, run) == kept
        assert self.interrupted("resume", run) == kept

    def test_a_damaged_checkpoint_does_not_hide_the_interruption(
        self, unfinished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object, **__: object) -> NoReturn:
            raise KeyboardInterrupt

        monkeypatch.setattr("unet_edge.training.resume.resume", interrupted)
        (unfinished / "progress" / CHECKPOINT_FILE).write_bytes(b"damaged")
        line = self.interrupted("resume", unfinished)
        assert line == f"interrupted; finish it with: unet-edge resume {unfinished}"

    def test_before_the_first_round_ends_nothing_is_kept(
        self, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> NoReturn:
            raise KeyboardInterrupt

        monkeypatch.setattr("unet_edge.training.run.run_phases", interrupted)
        run = tmp_path / "run"
        assert self.train(sample_data, run) == (
            f"interrupted; no round was finished; to begin again: unet-edge resume {run}"
        )

    def test_an_earlier_runs_rounds_are_not_the_new_ones(
        self, sample_data: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> NoReturn:
            raise KeyboardInterrupt

        monkeypatch.setattr("unet_edge.training.run._check_data", interrupted)
        line = self.train(sample_data, unfinished, "--overwrite")
        assert line == "interrupted; what was finished is kept"


def test_the_export_of_an_unfinished_run_says_whose_model_it_exports(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(run_path, tmp_path / "run"))
    (run / "progress").mkdir()
    monkeypatch.setattr("unet_edge.cli.workstation._EXPORT_MODULES", ["no_such_module"])
    warning, finish = f"WARNING: {run} is an unfinished run", f"unet-edge resume {run}"
    assert refused("export", run).splitlines()[0] == (
        f"{warning}; no round is finished: this exports the earlier run's model; finish it with: "
        f"{finish}"
    )
    (run / "progress" / CHECKPOINT_FILE).touch()
    assert refused("export", run).splitlines()[0] == (
        f"{warning}; this exports its best model so far; finish it with: {finish}"
    )


def test_an_export_below_a_floor_says_what_is_usable_and_what_to_do(
    run_path: Path, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    for entry in manifest["files"]:
        if "int8" in entry["name"]:
            entry["agreement"] = 0.9
    seal_manifest(bundle, manifest)
    monkeypatch.setattr("converters.export.export", lambda *_, **__: Bundle.open(bundle))
    output = tmp_path / "new"
    assert refused(
        "export", run_path, "-o", output, "--formats", "tflite-int8"
    ).strip().splitlines()[-3:] == [
        "below the agreement floor: model-int8.tflite, model-int8.onnx; devices leave them out",
        "usable: model-float32.tflite, model-float16.tflite, model-float32.onnx, "
        "model-float16.onnx",
        "for a better file: train longer, or search for a better .tflite file: unet-edge export "
        f"{shlex.quote(str(run_path))} --output {shlex.quote(str(output))} --formats tflite-int8 "
        '--min-agreement 0.998; see "Export and int8" in the docs',
    ]


def test_only_a_tflite_file_is_worth_a_search() -> None:
    tflite, onnx = "model-int8.tflite", "model-int8.onnx"
    search = "unet-edge export 'my run' --min-agreement 0.998"
    assert search in _next_steps(Path("my run"), [onnx, tflite], [], [], searched=False)[-1]
    alone = 'for a better file: train longer; see "Export and int8" in the docs'
    assert _next_steps(Path("my run"), [onnx], [tflite], [], searched=False)[-1] == alone
    assert _next_steps(Path("my run"), [tflite], [onnx], [], searched=True)[-1] == alone
