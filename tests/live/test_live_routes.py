"""The live page's requests, on a real server with a test pattern as its camera."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import threading
import time
import zipfile
import zlib

import httpx
import numpy as np
import pytest
from live_server import live_server, wait_until
from PIL import Image

from unet_edge.errors import StreamError
from unet_edge.live.live_routes import FrameSignal
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.streams.test_pattern import TestPattern

SIZE = (96, 64)


@pytest.fixture(scope="module")
def server(bundle_path):
    with live_server(bundle_path) as running:
        yield running


def read_frame(answer):
    """The header, the picture's bytes and the labels, uint8 (h, w), of /api/frame."""
    assert answer.status_code == 200, answer.text
    length = int.from_bytes(answer.content[:4], "big")
    header = json.loads(answer.content[4 : 4 + length])
    picture_end = 4 + length + header["picture"]["bytes"]
    packed = answer.content[picture_end:]
    assert len(packed) == header["labels"]["bytes"]
    width, height = header["grid"]
    labels = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width)
    return header, answer.content[4 + length : picture_end], labels


def drawn(labels, size):
    """The mask that a browser draws, by the formula of the interface, in plain Python."""
    (grid_height, grid_width), (width, height) = labels.shape, size
    rows = [(2 * y + 1) * grid_height // (2 * height) for y in range(height)]
    columns = [(2 * x + 1) * grid_width // (2 * width) for x in range(width)]
    return labels[np.ix_(rows, columns)]


def test_state_tells_source_model_and_figures(server):
    wait_until(lambda: server.parts.camera.frames > 3)
    state = server.client.get("/api/state").json()
    assert state["source"] == {
        "name": "test pattern 96x64",
        "status": "running",
        "message": None,
        "size": [96, 64],
        "policy": "latest",
    }
    assert state["frames"] > 3
    assert state["rate"] > 0
    assert set(state["stages_ms"]) == {"decode", "place", "infer", "mask"}
    assert state["delay_ms"] >= sum(state["stages_ms"].values())
    model = state["model"]
    assert model["file"] == "model-int8.tflite"
    assert [each["name"] for each in model["classes"]] == ["cell", "membrane"]
    assert model["classes"][1]["color"] == "#ff4085"
    assert model["has_background"]
    files = {each["name"]: each for each in model["files"]}
    assert len(files) == 6
    assert files["model-float32.tflite"]["agreement"] == 1.0
    assert all(each["runs"] and each["kept_floor"] for each in files.values())
    assert (state["recording"], state["can_record"], state["version"]) == (None, False, "1.2.3")


def test_labels_of_a_frame_draw_the_offline_mask(server, bundle_path):
    header, picture, labels = read_frame(server.client.get("/api/frame"))
    pixels = TestPattern(SIZE, 20).picture(header["index"])
    segmenter = Segmenter.open(bundle_path, file=header["model_file"], threads=1)
    mask = segmenter.segment(pixels)
    assert header["size"] == header["full_size"] == [96, 64]
    assert np.array_equal(drawn(labels, header["size"]), mask.labels)
    assert header["shares"] == pytest.approx(list(mask.coverage().values()), abs=1e-12)
    expected = io.BytesIO()
    Image.fromarray(pixels).save(expected, "JPEG", quality=80)
    assert picture == expected.getvalue()  # of this frame, to the byte


def test_frames_come_in_order_and_the_next_is_waited_for(server):
    first, *_ = read_frame(server.client.get("/api/frame"))
    second, *_ = read_frame(server.client.get("/api/frame", params={"after": first["sequence"]}))
    assert second["sequence"] > first["sequence"]
    assert second["index"] > first["index"]


def test_without_a_new_frame_the_answer_is_empty(server):
    server.client.post("/api/stream", json={"running": False})
    newest = server.parts.camera.newest.sequence
    begun = time.monotonic()
    answer = server.client.get("/api/frame", params={"after": newest})
    assert (answer.status_code, answer.content) == (204, b"")
    assert time.monotonic() - begun > 9
    server.client.post("/api/stream", json={"running": True})


def test_after_must_be_a_number(server):
    for text in ("x", "1.5", "", "9" * 30, "٣", "--5", "-", "5-"):
        assert server.client.get("/api/frame", params={"after": text}).status_code == 400


def test_stopping_frees_the_source_and_starting_goes_on_counting(server):
    camera = server.parts.camera
    wait_until(lambda: camera.frames > 1)
    stopped = server.client.post("/api/stream", json={"running": False}).json()
    assert stopped["source"]["status"] == "stopped"
    assert not any(thread.name in ("camera", "frames") for thread in threading.enumerate())
    assert server.client.get("/healthz").status_code == 200
    again = server.client.post("/api/stream", json={"running": True}).json()
    assert again["source"]["status"] == "running"
    wait_until(lambda: camera.frames > stopped["frames"] + 1)


def test_another_file_of_the_bundle_is_used_while_the_camera_runs(server, bundle_path):
    state = server.client.post("/api/model", json={"file": "model-float32.onnx"}).json()
    assert state["model"]["file"] == "model-float32.onnx"
    assert "onnxruntime" in state["model"]["interpreter"]
    camera = server.parts.camera
    wait_until(lambda: camera.newest.result.segmenter.name == "model-float32.onnx")
    assert camera.status == "running"
    header, _, labels = read_frame(server.client.get("/api/frame"))
    pixels = TestPattern(SIZE, 20).picture(header["index"])
    offline = Segmenter.open(bundle_path, file="model-float32.onnx", threads=1).segment(pixels)
    assert np.array_equal(drawn(labels, header["size"]), offline.labels)
    server.client.post("/api/model", json={"file": "model-int8.tflite"})


def test_an_unknown_file_and_a_broken_one_leave_the_model(server, bundle_path):
    wrong = server.client.post("/api/model", json={"file": "../../etc/passwd"})
    assert wrong.status_code == 404
    assert set(wrong.json()) == {"error", "fix"}
    path = bundle_path / "model-float16.onnx"
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + b"x")
    try:
        broken = server.client.post("/api/model", json={"file": path.name})
    finally:
        path.write_bytes(kept)
    assert broken.status_code == 422
    assert "damaged" in broken.json()["error"]
    assert server.client.get("/api/state").json()["model"]["file"] == "model-int8.tflite"


def test_two_changes_at_once_conflict(server):
    models = server.parts.models
    assert models._changing.acquire(blocking=False)
    try:
        answer = server.client.post("/api/model", json={"file": "model-float32.tflite"})
    finally:
        models._changing.release()
    assert answer.status_code == 409


def test_snapshot_holds_a_picture_whose_offline_mask_is_its_mask(server, bundle_path):
    answer = server.client.post("/api/snapshot")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert set(files) == {"picture.png", "mask.png", "overlay.png", "made.json"}
    made = json.loads(files["made.json"])
    index = made["frame"]["index"]
    assert f'-{index}.zip"' in answer.headers["content-disposition"]
    pixels = np.asarray(Image.open(io.BytesIO(files["picture.png"])))
    assert np.array_equal(pixels, TestPattern(SIZE, 20).picture(index))
    segmenter = Segmenter.open(bundle_path, file=made["model"]["file"], threads=1)
    offline = segmenter.segment(files["picture.png"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files["mask.png"]))), offline.labels)
    overlay = np.asarray(Image.open(io.BytesIO(files["overlay.png"])))
    assert np.array_equal(overlay, np.asarray(offline.overlay(pixels)))
    assert made["model"]["sha256"] == segmenter.digest
    assert made["source"] == "test pattern 96x64"
    assert made["size"] == [96, 64]
    assert made["shares"] == pytest.approx(offline.coverage(), abs=1e-12)
    assert len(made["bundle"]) == 64
    assert made["versions"]["unet-edge"] == "1.2.3"


def test_recording_must_be_allowed(server):
    answer = server.client.post("/api/recording", json={"on": True})
    assert answer.status_code == 409
    assert "--record" in answer.json()["fix"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"running": 1}', b"null", b"[" * 4000, b"\xff"]
)
def test_a_malformed_command_is_refused(server, body):
    answer = server.client.post("/api/stream", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_long_command_is_refused(server):
    assert server.client.post("/api/stream", content=b" " * 5000).status_code == 413


def test_unknown_paths_and_methods_are_errors_in_json(server):
    assert server.client.get("/nothing").status_code == 404
    wrong = server.client.get("/api/snapshot")
    assert wrong.status_code == 405
    assert set(wrong.json()) == {"error", "fix"}


class FailingSource:
    name = "failing camera"
    is_live = True

    def __init__(self, frames):
        self.pattern = TestPattern(SIZE, 20, frames=frames)
        self.info = self.pattern.info

    def frames(self):
        yield from self.pattern.frames()
        raise StreamError("the camera was unplugged", fix="plug it in")


def test_a_failed_camera_is_told_and_the_page_stays(bundle_path):
    with live_server(bundle_path, source=lambda _: FailingSource(0)) as server:
        wait_until(lambda: server.parts.camera.status == "failed")
        state = server.client.get("/api/state").json()
        assert state["source"]["message"] == "the camera was unplugged; plug it in"
        health = server.client.get("/healthz")
        assert (health.status_code, health.json()["reason"]) == (503, "the camera has failed")
        assert server.client.post("/api/snapshot").status_code == 409
        assert server.client.get("/").status_code == 200


def test_a_frame_that_came_before_the_wait_is_not_waited_for():
    signal = FrameSignal()
    waiting = []

    def is_there():
        waiting.append(signal.waiting)
        return True

    asyncio.run(asyncio.wait_for(signal.wait(600, is_there), 60))
    assert waiting == [1]  # whatever comes after this look wakes it


def test_the_end_of_the_server_answers_those_who_wait(bundle_path, monkeypatch):
    monkeypatch.setattr("unet_edge.live.live_routes.LONG_POLL", 600)
    answers = []
    with live_server(bundle_path, start=False) as server:
        url = f"{server.url}/api/frame"

        def wait():
            answers.append(httpx.get(url, timeout=120).status_code)

        waiting = threading.Thread(target=wait)
        waiting.start()
        watchers = (each.__self__ for each in server.parts.camera._watchers)
        signal = next(each for each in watchers if isinstance(each, FrameSignal))
        wait_until(lambda: signal.waiting)
    waiting.join(60)
    assert answers == [204]


def test_names_that_are_not_utf8_are_shown_escaped(bundle_path, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(bundle_path, folder)
    source = FailingSource(0)
    source.name = str(folder)
    with live_server(folder, source=lambda _: source, start=False) as server:
        state = server.client.get("/api/state").json()
    assert state["model"]["bundle"] == r"caf\udce9"
    assert state["source"]["name"] == str(tmp_path / r"caf\udce9")


def test_the_end_cuts_off_a_long_request_without_a_traceback(bundle_path, caplog):
    entered, release = threading.Event(), threading.Event()

    def open_segmenter():
        entered.set()
        assert release.wait(60)
        raise StreamError("not needed any more")

    def post():
        with contextlib.suppress(httpx.TransportError):
            httpx.post(f"{url}/segment", content=picture, timeout=60)

    picture = (bundle_path / "golden" / "01.png").read_bytes()
    with live_server(bundle_path, source=None, open_segmenter=open_segmenter) as server:
        url = server.url
        posting = threading.Thread(target=post)
        posting.start()
        assert entered.wait(30)
    release.set()
    posting.join(60)
    assert [each.getMessage() for each in caplog.records if each.name.startswith("uvicorn")] == []
