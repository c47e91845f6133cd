"""Runs that are killed and go on: the result is that of a run that nothing interrupted."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner

from unet_edge.cli import main
from unet_edge.training.checkpoint import Checkpoint

ROUNDS = 3
COMMON = ("--steps", 2 * ROUNDS, "--rounds", ROUNDS, "--batch-size", 2)
COMMON = (*COMMON, "--classes", "cell,membrane", "--seed", 3)
# Everything that a round hands on to the next: averages, a change of optimiser in mid-run, the
# memory of a schedule, and, in unet_mini, dropout's random states.
AVERAGED = (
    *COMMON, "--size", 64, "--alpha", 0.25, "--encoder-weights", "none", "--dice", 1,
    "--ema", 0.3, "--freeze", 0.3, "--rotation", 20, "--tensorboard",
)  # fmt: skip
DROPOUT = (*COMMON, "--size", 32, "--architecture", "unet_mini", "--optimizer", "sgd")


def start(*arguments):
    command = [sys.executable, "-m", "unet_edge", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(*arguments):
    process = start(*arguments)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def rounds_told(run):
    """Rounds in history.csv, the last of which may not be in the checkpoint yet."""
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def rounds_kept(run):
    checkpoint = run / "progress" / "checkpoint"
    return len(Checkpoint.read(checkpoint).facts["history"]) if checkpoint.is_file() else 0


def kill_when(ready, *arguments):
    """Start a command and end it as a power cut does, as soon as `ready()`."""
    process = start(*arguments)
    deadline = time.monotonic() + 300
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    printed, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, printed


def state_of(path):
    model = keras.saving.load_model(path, compile=False)
    return [weight.tobytes() for weight in model.get_weights()]


def assert_equal_runs(run, reference):
    # Bytes: TensorFlow adds in the same order on the same machine with as many threads.
    assert (run / "history.csv").read_bytes() == (reference / "history.csv").read_bytes()
    for name in ("model.keras", "last.keras"):
        assert state_of(run / name) == state_of(reference / name)
    first, second = (json.loads((r / "result.json").read_text()) for r in (run, reference))
    for measured in ("data_wait", "run"):
        del first[measured], second[measured]
    assert first == second
    assert (run / "config.toml").read_text() == (reference / "config.toml").read_text()
    files, expected = (
        {path.relative_to(r).as_posix() for path in r.rglob("*") if "tfevents" not in path.name}
        for r in (run, reference)
    )
    assert files == expected


@pytest.mark.slow
def test_a_run_killed_after_any_round_ends_with_the_same_result(sample_data, tmp_path):
    finish("train", sample_data, "-o", tmp_path / "whole", *AVERAGED)
    run, done = tmp_path / "killed", random.randrange(1, ROUNDS)
    print(f"killed when history.csv has {done} rounds")  # noqa: T201  # shown when it fails
    kill_when(lambda: rounds_told(run) >= done, "train", sample_data, "-o", run, *AVERAGED)

    # Nobody trains over it by accident.
    refusal = refused("train", sample_data, "-o", run, *AVERAGED)
    assert f"{run} holds an unfinished run; finish it with 'unet-edge resume {run}'" in refusal

    finish("resume", run)
    assert_equal_runs(run, tmp_path / "whole")
    assert f"{run} is finished" in refused("resume", run)


@pytest.mark.slow
def test_a_run_killed_again_and_again_keeps_its_random_states(sample_data, tmp_path):
    finish("train", sample_data, "-o", tmp_path / "whole", *DROPOUT)
    run, done = tmp_path / "killed", random.randrange(1, ROUNDS)
    print(f"killed before the first round, then when {done} are kept")  # noqa: T201  # as above
    settings = run / "progress" / "config.toml"
    kill_when(settings.is_file, "train", sample_data, "-o", run, *DROPOUT)
    assert not (run / "history.csv").exists()
    kill_when(lambda: rounds_kept(run) >= done, "resume", run)
    assert f"continuing after round {rounds_kept(run)} of {ROUNDS}" in finish("resume", run)
    assert_equal_runs(run, tmp_path / "whole")


def refused(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    (line,) = (text for text in result.output.splitlines() if text.startswith("error: "))
    return line


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    assert f"{tmp_path} is not an unfinished run" in refused("resume", tmp_path)
    assert f"no such folder: {tmp_path / 'nowhere'}" in refused("resume", tmp_path / "nowhere")


def test_a_finished_run_cannot_be_resumed(run_path):
    assert f"{run_path} is finished" in refused("resume", run_path)


def unfinished(run, data):
    """The folder of a run that was killed before its first round."""
    (run / "progress").mkdir(parents=True)
    text = f'data = "{data}"\nsteps = 1\nencoder_weights = "none"\n'
    (run / "progress" / "config.toml").write_text(text)
    return run


def test_a_damaged_checkpoint_is_reported_with_its_fix(sample_data, tmp_path):
    run = unfinished(tmp_path / "run", sample_data)
    (run / "progress" / "checkpoint").write_bytes(b"PK\3\4" + bytes(99))
    line = refused("resume", run)
    assert "checkpoint is damaged" in line
    assert "train again with --overwrite" in line


def test_damaged_settings_are_reported(sample_data, tmp_path):
    run = unfinished(tmp_path / "run", sample_data)
    settings = run / "progress" / "config.toml"
    settings.write_text(settings.read_text() + "stepps = 2\n")
    assert f"{settings}: unknown setting stepps, is it steps?" in refused("resume", run)


def test_missing_data_are_reported(tmp_path):
    run = unfinished(tmp_path / "run", tmp_path / "gone")
    assert f"no such data folder: {tmp_path / 'gone'}" in refused("resume", run)
    assert Path(run / "progress" / "config.toml").is_file()
