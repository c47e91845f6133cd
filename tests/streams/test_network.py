"""Network streams from real servers: RTSP by GStreamer, HTTP, UDP and TCP."""

import http.server
import socket
import subprocess
import threading
import time
from io import BytesIO
from itertools import islice, pairwise

import numpy as np
import pytest
from PIL import Image
from rtsp_server import SIZE, RtspServer, free_port, require_rtsp_server
from system_programs import require_program
from video_files import write_video

from unet_edge.errors import StreamError
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.streams.network import NetworkStream
from unet_edge.streams.open_source import open_source
from unet_edge.streams.reconnect import Reconnecting

pytest.importorskip("av", reason="PyAV is not installed")

BARS = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0),
        (0, 0, 191)]  # fmt: skip


@pytest.fixture
def rtsp():
    require_rtsp_server()
    with RtspServer() as server:
        yield server


def bars(frame):
    """The middles of the seven bars."""
    return np.asarray(frame.image)[SIZE[1] // 2, SIZE[0] // 14 :: SIZE[0] // 7][:7]


def test_an_rtsp_camera_gives_frames_of_its_size_and_colours(rtsp, bundle_path):
    stream = NetworkStream(rtsp.url)
    frames = list(islice(stream.frames(), 10))
    assert stream.info.size == SIZE
    assert stream.info.rate == 15
    for index, frame in enumerate(frames):
        assert frame.index == index
        assert frame.image.size == SIZE
        # Coded by x264; 8 is more than its error on flat bars and less than any two colours differ.
        assert np.abs(bars(frame).astype(int) - BARS).max() < 8
    assert frames[-1].time - frames[0].time == pytest.approx(9 / 15, abs=0.1)
    with Segmenter.open(bundle_path).stream(rtsp.url) as segmented:
        frame, mask = next(iter(segmented))
        assert segmented.policy == "latest"
        assert mask.labels.shape == SIZE[::-1]


@pytest.mark.slow
def test_a_camera_that_goes_and_comes_back_is_opened_again(rtsp):
    states = []
    source = Reconnecting(
        lambda: NetworkStream(rtsp.url, open_timeout=20),
        lambda *status: states.append(status),
        wait=lambda _: time.sleep(0.2),
    )
    frames = source.frames()
    seen = list(islice(frames, 5))
    rtsp.kill()
    restart = threading.Timer(1, rtsp.start)
    restart.start()
    seen += islice(frames, 40)
    restart.join()
    frames.close()
    assert [frame.index for frame in seen] == list(range(45))
    assert all(after.pts > before.pts for before, after in pairwise(seen))
    assert source.reconnections >= 1
    assert states[0][0] == "reconnecting"
    assert states[0][1].startswith(f"{rtsp.url} is lost: ")
    assert any("Connection refused" in message for _, message in states)
    assert ("running", f"{rtsp.url} is back") in states
    assert np.abs(bars(seen[-1]).astype(int) - BARS).max() < 8


@pytest.mark.slow
def test_a_camera_that_stalls_counts_as_lost(rtsp):
    frames = NetworkStream(rtsp.url, stall_timeout=2).frames()
    next(frames)
    rtsp.stall()
    with pytest.raises(StreamError, match="is lost: no frame came for 2 s"):
        list(frames)
    rtsp.go_on()
    assert next(NetworkStream(rtsp.url).frames()).image.size == SIZE


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/bars"
        with pytest.raises(StreamError, match=r"cannot open .*: no video came in 1 s"):
            next(NetworkStream(url, open_timeout=1).frames())


def test_a_camera_that_asks_for_a_password_gets_it_and_no_message_shows_it():
    require_rtsp_server()
    with RtspServer(user="me", password="s3cr@t") as server:
        with_login = server.url.replace("//", "//me:s3cr%40t@")
        stream = NetworkStream(with_login)
        assert stream.name == server.url
        assert next(stream.frames()).image.size == SIZE
        for url, message in {
            server.url: "401 Unauthorized.*rtsp://NAME:PASSWORD@",
            server.url.replace("//", "//me:wr0ng@"): "401 Unauthorized",
            with_login.replace("bars", "none"): "404 Not Found",
        }.items():
            with pytest.raises(StreamError, match=message) as caught:
                next(open_source(url).frames())
            error = caught.value
            assert error.__cause__ is None
            assert "s3cr" not in str(error) + repr(error)
            assert "wr0ng" not in str(error) + repr(error)
        server.kill()
        with pytest.raises(StreamError, match="Connection refused") as caught:
            next(open_source(with_login).frames())
        assert "s3cr" not in str(caught.value)


def jpeg(color):
    buffer = BytesIO()
    Image.new("RGB", (64, 48), color).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and at /camera five pictures in a multipart answer."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if not self.path.startswith("/camera"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for level in range(5):
            picture = jpeg((50 * level, 0, 0))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(0.05)


@pytest.fixture
def web(tmp_path):
    class Handler(_Handler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_camera_of_jpegs_over_http(web):
    with pytest.raises(StreamError, match="is lost"):
        list(NetworkStream(f"{web}/camera?user=me").frames())
    source = Reconnecting(lambda: NetworkStream(f"{web}/camera?user=me"), wait=lambda _: None)
    frames = list(islice(source.frames(), 8))
    # JPEG's rounding of colours.
    for frame, level in zip(frames, [0, 1, 2, 3, 4, 0, 1, 2], strict=True):
        assert np.abs(np.asarray(frame.image, int)[24, 32] - (50 * level, 0, 0)).max() <= 3
    assert [frame.index for frame in frames] == list(range(8))
    assert all(after.pts > before.pts for before, after in pairwise(frames))
    assert frames[4].time - frames[0].time >= 0.15  # by the clock: these pictures have no times
    assert source.name == f"{web}/camera?…"


def test_a_video_file_on_a_web_server_is_read_like_a_file(web, tmp_path):
    path = write_video(tmp_path / "clip.mp4", "-c:v", "libx264", "-bf", "2")
    source = open_source(f"{web}/clip.mp4")
    assert not source.is_live
    expected = [np.asarray(frame.image) for frame in open_source(str(path)).frames()]
    frames = list(source.frames())
    assert len(frames) == 20
    for frame, image in zip(frames, expected, strict=True):
        assert np.array_equal(frame.image, image)
    with pytest.raises(StreamError, match="404 Not Found"):
        next(open_source(f"{web}/none.mp4").frames())


@pytest.mark.parametrize("name", ["clip.ts", "list.m3u8"])
def test_a_stream_whose_length_is_known_ends(name, web, tmp_path):
    write_video(tmp_path / "clip.ts", "-c:v", "libx264")
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\nclip.ts\n#EXT-X-ENDLIST\n"
    )
    assert len(list(open_source(f"{web}/{name}").frames())) == 20


def test_a_playlist_of_a_network_names_no_files(web, tmp_path):
    path = write_video(tmp_path / "secret.ts", "-c:v", "libx264")
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\nfile://{path}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(StreamError, match="cannot open"):
        next(open_source(f"{web}/list.m3u8").frames())


def test_what_is_no_video_is_named_so(web, tmp_path):
    (tmp_path / "page.html").write_text("<html>not a camera</html>\n" * 100)
    with pytest.raises(StreamError, match="what it sends is no video that can be read"):
        next(open_source(f"{web}/page.html").frames())


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_transport_stream_over_udp_and_tcp(scheme, tmp_path):
    path = write_video(tmp_path / "clip.ts", "-c:v", "libx264", "-g", "5", frames=100)
    url = f"{scheme}://127.0.0.1:{free_port()}"
    program = require_program("ffmpeg", package="ffmpeg")
    target = f"{url}?listen" if scheme == "tcp" else url
    command = [program, "-v", "quiet", "-re", "-stream_loop", "-1", "-i", path, "-c", "copy"]
    sender = subprocess.Popen([*command, "-f", "mpegts", target])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                frames = list(islice(NetworkStream(url).frames(), 5))
                break
            except StreamError:  # ffmpeg does not listen yet
                assert time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        sender.kill()
        sender.wait()
    assert [frame.index for frame in frames] == list(range(5))
    assert all(frame.image.size == (160, 120) for frame in frames)
