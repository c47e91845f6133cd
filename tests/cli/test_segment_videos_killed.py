"""A run over a video that is killed, interrupted or short of space goes on where it was."""

import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from clips import audio_packets, decoded, frame_times, make_clip
from command_line import run, run_json

from unet_edge.batch.resume_log import open_resume_log

pytest.importorskip("av", reason="no PyAV, as on a device without video")

SAVE = ["--save", "overlay,index,csv"]
SECONDS = 12
KILLS = 20


def clip_of(once, seconds):
    return once(
        f"clip-{seconds}.mp4",
        lambda path: make_clip(
            path,
            "-f", "lavfi", "-i", f"testsrc2=size=128x96:rate=30:duration={seconds}",
            "-f", "lavfi", "-i", f"sine=440:sample_rate=48000:duration={seconds}",
            "-vf", "noise=alls=60:allf=t:all_seed=1", "-pix_fmt", "yuv420p", "-c:a", "aac",
            "-f", "mp4",
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def long_clip(once):
    return clip_of(once, SECONDS)


@pytest.fixture(scope="session")
def clip(once):
    return clip_of(once, 12)


def begun(bundle, clip, output, *options, **settings):
    command = [sys.executable, "-m", "unet_edge", "segment", str(bundle), str(clip)]
    return subprocess.Popen(
        [*command, "-o", str(output), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **settings,
    )  # fmt: skip


def wait_for_part(output, name, number, process):
    """Wait until a part is written."""
    while not (output / f".{name}.video" / f"{number:06d}.part").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def contents(folder, name):
    """Everything that is promised to be equal, however often a run was killed."""
    return {
        "masks": decoded(folder / f"{name}.index.mkv", "gray"),
        "overlay": decoded(folder / f"{name}.overlay.mp4", "yuv420p"),
        "times": frame_times(folder / f"{name}.overlay.mp4"),
        "sound": audio_packets(folder / f"{name}.overlay.mp4"),
        "csv": (folder / f"{name}.shares.csv").read_bytes(),
    }


@pytest.mark.slow
def test_a_run_killed_at_any_moment_gives_the_same_files(long_clip, bundle_path, tmp_path):
    name = long_clip.stem
    started = time.monotonic()
    begun(bundle_path, long_clip, tmp_path / "whole", *SAVE).communicate()
    whole = time.monotonic() - started
    expected = contents(tmp_path / "whole", name)
    # 128x96 px, one byte each: no frame is missing or doubled.
    assert len(expected["masks"]) == SECONDS * 30 * 128 * 96
    assert len(expected["times"]) == SECONDS * 30
    random.seed(16)
    kills, finished, resumed = 0, 0, set()
    patience: float | None = 0.0
    while patience is not None:
        output = tmp_path / f"killed-{finished}"
        process = begun(bundle_path, long_clip, output, *SAVE)
        # From before the model is open to after the files are joined. After the last kill, the run
        # goes on to its end.
        patience = random.uniform(0, whole) if kills < KILLS else None
        try:
            _, notes = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, notes
        resumed |= {line for line in notes.splitlines() if "goes on after frame" in line}
        assert contents(output, name) == expected
        assert not (output / f".{name}.video").exists()
        finished += 1
    assert resumed


def test_ctrl_c_keeps_finished_parts(clip, bundle_path, tmp_path):
    process = begun(bundle_path, clip, tmp_path)
    wait_for_part(tmp_path, clip.stem, 1, process)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130
    assert "interrupted; what was finished is kept" in message
    (video,) = run_json("segment", bundle_path, clip, "-o", tmp_path)["videos"]
    assert video["frames"] == 360
    assert video["resumed"] >= 100
    assert video["resumed"] % 50 == 0


def test_other_settings_begin_anew(clip, bundle_path, tmp_path):
    process = begun(bundle_path, clip, tmp_path)
    wait_for_part(tmp_path, clip.stem, 0, process)
    process.kill()
    process.communicate()
    (video,) = run_json("segment", bundle_path, clip, "-o", tmp_path, "--legend", "none")["videos"]
    assert video["frames"] == 360
    assert "resumed" not in video


@pytest.mark.slow
def test_smoothed_scores_go_on_after_a_kill(clip, bundle_path, tmp_path):
    options = ["--save", "index", "--smoothing", "0.8"]
    run("segment", bundle_path, clip, "-o", tmp_path / "whole", *options)
    process = begun(bundle_path, clip, tmp_path / "killed", *options)
    wait_for_part(tmp_path / "killed", clip.stem, 2, process)
    process.kill()
    process.communicate()
    report = run_json("segment", bundle_path, clip, "-o", tmp_path / "killed", *options)
    assert report["videos"][0]["resumed"] >= 150
    file = f"{clip.stem}.index.mkv"
    whole, killed = (decoded(tmp_path / folder / file, "gray") for folder in ("whole", "killed"))
    assert whole == killed


def test_two_runs_into_one_folder_are_kept_apart(clip, bundle_path, tmp_path):
    with open_resume_log(tmp_path):
        process = begun(bundle_path, clip, tmp_path)
        _, message = process.communicate()
    assert process.returncode == 1
    assert f"another unet-edge segment is writing to {tmp_path}" in message


def test_a_full_disk_is_an_error_and_the_run_goes_on_with_more_space(clip, bundle_path, tmp_path):
    def little_space():  # as if the disk were full, for files that grow beyond it
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))

    process = begun(bundle_path, clip, tmp_path, preexec_fn=little_space)
    _, message = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in message
    assert "File too large" in message
    assert not (tmp_path / f"{clip.stem}.overlay.mp4").exists()
    (video,) = run_json("segment", bundle_path, clip, "-o", tmp_path)["videos"]
    assert video["frames"] == 360
    assert len(frame_times(tmp_path / f"{clip.stem}.overlay.mp4")) == 360
