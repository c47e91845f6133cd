"""Recording of the overlay video while the camera runs."""

import shutil
import threading

import numpy as np
import pytest
from live_server import live_server, wait_until

from unet_edge.errors import OutputError
from unet_edge.live import recording
from unet_edge.live.recording import Recorder, overlay_video


def pictures_of(path):
    import av

    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def test_a_recording_appears_when_it_is_finished_and_shows_the_masks(bundle_path, tmp_path):
    pytest.importorskip("av", reason="no PyAV to encode videos with")
    recorder = Recorder(tmp_path, overlay_video)
    with live_server(bundle_path, recorder=recorder) as server:
        assert server.client.get("/api/state").json()["can_record"]
        begun = server.client.post("/api/recording", json={"on": True}).json()["recording"]
        assert begun["file"].startswith("unet-edge-")
        again = server.client.post("/api/recording", json={"on": True}).json()["recording"]
        assert again["file"] == begun["file"]
        wait_until(lambda: (recorder.state() or {}).get("frames", 0) > 5)
        assert not list(tmp_path.glob("unet-edge-*.mp4"))  # complete or not at all
        state = server.client.post("/api/recording", json={"on": False}).json()
        assert (state["recording"], state["recording_error"]) == (None, None)
        overlay = server.parts.camera.newest.result
    (video,) = tmp_path.iterdir()
    assert video.name == begun["file"]
    shown = pictures_of(video)
    assert len(shown) > 5
    assert {picture.shape for picture in shown} == {(64, 96, 3)}
    photo = overlay.frame.image.astype(float)
    drawn = np.asarray(overlay.mask.overlay(overlay.frame.image), float)
    # The bars stand still: the video shows them with the classes laid over, not the bare picture.
    assert np.abs(shown[-1] - drawn).mean() < np.abs(shown[-1] - photo).mean()


def test_the_end_of_the_server_finishes_the_recording(bundle_path, tmp_path):
    pytest.importorskip("av", reason="no PyAV to encode videos with")
    recorder = Recorder(tmp_path, overlay_video)
    with live_server(bundle_path, recorder=recorder) as server:
        server.client.post("/api/recording", json={"on": True})
        wait_until(lambda: (recorder.state() or {}).get("frames", 0) > 3)
    (video,) = tmp_path.iterdir()
    assert len(pictures_of(video)) > 3


class SlowSink:
    """Waits with its first frame until the event is set; then it may fail."""

    def __init__(self, error=None):
        self.release, self.error = threading.Event(), error
        self.written, self.closed = 0, 0

    def write(self, result):
        assert self.release.wait(60)
        if self.error:
            raise self.error
        self.written += 1

    def close(self):
        self.closed += 1


def test_a_slow_encoder_leaves_frames_out_and_never_stalls_the_camera(bundle_path, tmp_path):
    sink = SlowSink()
    recorder = Recorder(tmp_path, lambda path: sink)
    with live_server(bundle_path, recorder=recorder) as server:
        recorder.start()
        frames = server.parts.camera.frames
        wait_until(lambda: server.parts.camera.frames > frames + 20)
        assert recorder.skipped > 0
        sink.release.set()
        recorder.stop()
    # One was being written, and the queue was full behind it; more may follow the release.
    assert sink.written >= 9
    assert sink.closed == 1


def test_a_failed_recording_is_told_and_another_can_begin(bundle_path, tmp_path):
    sinks = [SlowSink(OSError(28, "No space left on device")), SlowSink()]
    recorder = Recorder(tmp_path, lambda path: sinks[recorder.begun])
    recorder.begun = 0
    with live_server(bundle_path, recorder=recorder) as server:
        sinks[0].release.set()
        server.client.post("/api/recording", json={"on": True})
        wait_until(lambda: recorder.error)
        state = server.client.get("/api/state").json()
        assert state["recording"] is None
        assert "No space left" in state["recording_error"]
        assert state["source"]["status"] == "running"
        wait_until(lambda: not any(t.name == "recording" for t in threading.enumerate()))
        recorder.begun = 1
        sinks[1].release.set()
        started = server.client.post("/api/recording", json={"on": True}).json()
        assert started["recording_error"] is None
        wait_until(lambda: sinks[1].written > 2)
    assert [sink.closed for sink in sinks] == [1, 1]


def test_a_recording_ends_before_the_disk_is_full(bundle_path, tmp_path, monkeypatch):
    sink = SlowSink()
    sink.release.set()
    recorder = Recorder(tmp_path, lambda path: sink)
    with live_server(bundle_path, recorder=recorder) as server:
        recorder.start()
        wait_until(lambda: sink.written)
        monkeypatch.setattr(recording, "LEAST_FREE", shutil.disk_usage(tmp_path).total + 1)
        assert "MiB are free" in wait_until(lambda: recorder.error)
        assert recorder.state() is None
        assert server.parts.camera.status == "running"
    assert sink.closed == 1


def test_a_recording_without_frames_says_that_there_is_no_file(tmp_path):
    recorder = Recorder(tmp_path, overlay_video)
    recorder.start()
    recorder.stop()
    assert recorder.error == "no frame came, so there is no file"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_begins_no_recording(bundle_path, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "LEAST_FREE", shutil.disk_usage(tmp_path).total + 1)
    recorder = Recorder(tmp_path, overlay_video)
    with pytest.raises(OutputError, match="MiB are free"):
        recorder.start()
    with live_server(bundle_path, recorder=recorder, start=False) as server:
        answer = server.client.post("/api/recording", json={"on": True})
        assert answer.status_code == 422
        assert "delete old recordings" in answer.json()["fix"]
    assert not list(tmp_path.iterdir())
