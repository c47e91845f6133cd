"""The commands `live` and `serve`, as processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from unet_edge.runtime.segmenter import Segmenter


@contextmanager
def started(*arguments, **environment):
    """A server that is ready, and what its line of JSON says."""
    process = subprocess.Popen(
        [sys.executable, "-m", "unet_edge", *map(str, arguments), "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process, number):
    """The exit status and both streams of a process after a signal, and the seconds it took."""
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err, time.monotonic() - begun


def failed(*arguments, **environment):
    """The error of a command that fails at once."""
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_live_serves_the_page_until_it_is_ended(bundle_path, number):
    with started("live", "pattern:64x48@20", bundle_path) as (process, ready):
        assert ready["host"] == "127.0.0.1"
        assert ready["token"] is None
        assert ready["address"] == f"http://127.0.0.1:{ready['port']}/"
        page = httpx.get(ready["address"])
        assert "<html" in page.text
        frame = httpx.get(f"{ready['address']}api/frame", timeout=60)
        assert frame.status_code == 200
        # A page that waits for a frame and a client that says nothing do not delay the end.
        silent = socket.create_connection(("127.0.0.1", ready["port"]))
        status, out, err, seconds = ended(process, number)
        silent.close()
    assert (status, out) == (0, "")
    assert "Traceback" not in err
    assert seconds < 20  # it takes about 1 s; the test may run beside many others


def test_serve_answers_with_the_segmenters_masks(bundle_path):
    picture = (bundle_path / "golden" / "01.png").read_bytes()
    mask = Segmenter.open(bundle_path, file="model-float32.onnx").segment(picture)
    with started("serve", bundle_path, "--file", "model-float32.onnx", "--workers", "2") as (
        process,
        ready,
    ):
        answer = httpx.post(
            f"{ready['address']}segment?output=json", content=picture, timeout=60
        ).json()
        assert answer["shares"] == mask.coverage()
        assert answer["model"]["file"] == "model-float32.onnx"
        assert httpx.get(ready["address"]).status_code == 404  # no camera, no page
        status, *_ = ended(process, signal.SIGINT)
    assert status == 0


def test_another_host_needs_the_token_that_is_told(bundle_path):
    with started("serve", bundle_path, "--host", "0.0.0.0") as (_, ready):
        url = f"http://127.0.0.1:{ready['port']}/metrics"
        assert len(ready["token"]) >= 43  # 256 bits
        assert httpx.get(url).status_code == 401
        told = {"Authorization": f"Bearer {ready['token']}"}
        assert httpx.get(url, headers=told).status_code == 200
        name = {"Host": f"{socket.gethostname()}:{ready['port']}", **told}
        assert httpx.get(url, headers=name).status_code == 200
        for other in ("evil.example", f"0.0.0.0:{ready['port']}"):
            assert httpx.get(url, headers={"Host": other, **told}).status_code == 421


def test_more_signals_are_no_traceback_and_break_no_recording(bundle_path, tmp_path):
    pytest.importorskip("av", reason="no PyAV to encode videos with")
    words = ("live", "pattern:64x48@20", bundle_path, "--record", tmp_path)
    with started(*words) as (process, ready):
        with httpx.Client(base_url=ready["address"], timeout=60) as client:
            state = client.post("api/recording", json={"on": True}).json()
            while state["recording"]["frames"] < 5:
                time.sleep(0.05)
                state = client.get("api/state").json()
        while process.poll() is None:  # timeout(1) sends two, and people are impatient
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")
    assert [each.name for each in tmp_path.iterdir()] == [state["recording"]["file"]]


@pytest.mark.parametrize("command", [("live", "pattern:64x48@20"), ("serve",)])
def test_a_token_of_the_user_is_not_printed_into_the_journal(bundle_path, command):
    reading, writing = os.pipe()
    status = os.fstat(writing)
    with os.fdopen(reading) as journal:
        process = subprocess.Popen(
            [sys.executable, "-m", "unet_edge", *command, bundle_path, "--port", "0"],
            stdout=writing, stderr=writing, env=os.environ | {
                "UNET_EDGE_TOKEN": "from-the-environment",
                "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            },
        )  # fmt: skip
        os.close(writing)
        printed = ""
        while "Ctrl-C ends it" not in printed:
            line = journal.readline()
            assert line, printed
            printed += line
        process.send_signal(signal.SIGINT)
        printed += journal.read()
        assert process.wait(60) == 0
    assert "the token is that of UNET_EDGE_TOKEN" in printed
    assert "from-the-environment" not in printed


def test_names_without_a_token_are_told(bundle_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "unet_edge", "serve", bundle_path, "--port", "0"),
            *("--allowed-host", "pi.example"),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()
    _, _, err, _ = ended(process, signal.SIGINT)
    assert "who reaches it as pi.example needs no token" in err


def test_a_token_comes_from_a_file_or_the_environment(bundle_path, tmp_path):
    (tmp_path / "token").write_text("from-a-file-0123456789\n")
    with started("serve", bundle_path, "--token-file", tmp_path / "token") as (_, ready):
        assert ready["token"] == "from-a-file-0123456789"
        assert httpx.get(f"{ready['address']}metrics").status_code == 401
    with started("serve", bundle_path, UNET_EDGE_TOKEN="from-the-environment") as (_, ready):
        assert ready["token"] == "from-the-environment"


def test_the_address_is_printed_with_the_way_to_reach_it(bundle_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "unet_edge", "live", "pattern:64x48", bundle_path, "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = process.stdout.readline()
    _, out, err, _ = ended(process, signal.SIGINT)
    port = int(address.rstrip("/\n").rpartition(":")[2])
    assert f"ssh -L {port}:localhost:{port} " in err
    assert "stopped" in err
    assert out == ""


def test_a_taken_port_is_told_with_the_fix(bundle_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = failed("live", "pattern", bundle_path, "--port", port)
    assert f"port {port} of 127.0.0.1 is taken" in error
    assert "choose another --port" in error


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("live", "no-such-thing", "BUNDLE"), "no-such-thing is no file"),
        (("live", "pattern", "no-such-bundle"), "no-such-bundle"),
        (("serve", "no-such-bundle"), "no-such-bundle"),
        (("serve", "BUNDLE", "--host", "192.0.2.1"), "192.0.2.1 is no address of this machine"),
        (("serve", "BUNDLE", "--file", "none.tflite"), "holds no none.tflite"),
        (("serve", "BUNDLE", "--token-file", "no-such-file"), "no-such-file"),
    ],
)
def test_mistakes_are_one_line(bundle_path, arguments, text):
    given = [bundle_path if each == "BUNDLE" else each for each in arguments]
    assert text in failed(*given, "--port", 0)


def test_a_camera_that_fails_is_told_where_the_server_was_started(bundle_path, tmp_path):
    damaged = tmp_path / "clip.mp4"
    damaged.write_bytes(b"no video")
    with started("live", damaged, bundle_path) as (process, ready):
        line = process.stderr.readline()
        while line and "the camera has failed" not in line:
            line = process.stderr.readline()
        assert "clip.mp4" in line
        assert httpx.get(f"{ready['address']}healthz").status_code == 503
        status, _, err, _ = ended(process, signal.SIGINT)
    assert status == 0
    assert "Traceback" not in err


def test_a_weak_token_is_refused(bundle_path):
    for command in (("live", "pattern"), ("serve",)):
        error = failed(*command, bundle_path, "--port", 0, UNET_EDGE_TOKEN="secret")
        assert "at least 16" in error
