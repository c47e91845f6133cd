"""USB cameras by V4L2. No real camera was run: a driver in Python answers linuxpy's ioctls."""

import errno
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from patterns import encoded, pattern
from PIL import Image

pytest.importorskip("linuxpy", reason="linuxpy is part of unet-edge[usb]")

from fake_v4l2 import FakeDriver, Shot, shots

from unet_edge.errors import ImageError, StreamError
from unet_edge.streams import v4l2
from unet_edge.streams.open_source import open_source
from unet_edge.streams.pixel_layouts import PixelLayout
from unet_edge.streams.reconnect import Reconnecting
from unet_edge.streams.v4l2 import UsbCamera, list_cameras
from unet_edge.streams.yuv_colors import YuvColors

JPEGS = [encoded(Image.fromarray(np.roll(pattern(64, 48), k, axis=0)), "JPEG") for k in range(4)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "video0"


def read(camera, count):
    frames = camera.frames()
    taken = [next(frames) for _ in range(count)]
    frames.close()
    return taken


def open_handles():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_mjpeg_frames_are_passed_on_as_files(path, monkeypatch):
    driver = FakeDriver(path, shots(*JPEGS)).install(monkeypatch)
    before = time.monotonic()
    camera = UsbCamera(str(path))
    frames = read(camera, 4)
    assert driver.format == ("MJPG", 64, 48)
    assert driver.buffers == 0  # freed
    assert not driver.streaming
    assert [frame.image for frame in frames] == JPEGS
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert all(before - 0.02 <= frame.captured < time.monotonic() for frame in frames)
    assert frames[2].time == pytest.approx(frames[2].captured)
    assert camera.info.size == (64, 48)
    assert camera.info.rate == 30
    assert camera.is_live


def test_frames_that_the_driver_dropped_count(path, monkeypatch):
    FakeDriver(
        path, [Shot(JPEGS[0], 7), Shot(JPEGS[1], 8), Shot(JPEGS[2], 12), Shot(JPEGS[3], 12)]
    ).install(monkeypatch)
    assert [frame.index for frame in read(UsbCamera(str(path)), 4)] == [0, 1, 5, 6]


def test_damaged_frames_are_image_errors(path, monkeypatch):
    FakeDriver(
        path, [Shot(JPEGS[0], 0), Shot(JPEGS[1][:99], 1, damaged=True), Shot(b"", 2)]
    ).install(monkeypatch)
    fine, damaged, empty = read(UsbCamera(str(path)), 3)
    assert fine.image == JPEGS[0]
    for frame in (damaged, empty):
        with pytest.raises(ImageError, match="damaged frame"):
            _ = frame.image


@pytest.mark.parametrize(
    ("code", "name"),
    [("YUYV", "yuyv422"), ("NV12", "nv12"), ("RGB3", "rgb24"), ("BGR3", "bgr24"), ("GREY", "gray"),
     ("YU12", "yuv420p"), ("UYVY", "uyvy422"), ("XR24", "bgr0")],
)  # fmt: skip
def test_pixels_are_read_by_their_layout_and_stride(path, monkeypatch, code, name):
    stride = 64 * 4 + 32
    layout = PixelLayout(name, (64, 48), stride)
    data = np.random.default_rng(1).integers(0, 256, layout.frame_bytes, dtype=np.uint8).tobytes()
    FakeDriver(path, shots(data), formats=(code,), stride=stride).install(monkeypatch)
    (frame,) = read(UsbCamera(str(path)), 1)
    assert np.array_equal(frame.image, layout.rgb(data))


# Values of linux/videodev2.h: colour space, encoding, quantisation.
@pytest.mark.parametrize(
    ("driver_says", "expected"),
    [
        ((8, 0, 0), YuvColors("bt601", full_range=False)),  # sRGB, of most webcams
        ((3, 0, 0), YuvColors("bt709", full_range=False)),
        ((3, 1, 1), YuvColors("bt601", full_range=True)),
        ((7, 0, 0), YuvColors("bt601", full_range=True)),  # JPEG
        ((7, 0, 2), YuvColors("bt601", full_range=False)),
        ((10, 0, 0), YuvColors("bt2020", full_range=False)),
    ],
)
def test_the_driver_says_what_yuv_means(path, monkeypatch, driver_says, expected):
    layout = PixelLayout("yuyv422", (64, 48), 0, expected)
    data = np.random.default_rng(2).integers(0, 256, layout.frame_bytes, dtype=np.uint8).tobytes()
    FakeDriver(path, shots(data), formats=("YUYV",), colors=driver_says).install(monkeypatch)
    (frame,) = read(UsbCamera(str(path)), 1)
    assert np.array_equal(frame.image, layout.rgb(data))


def test_what_the_driver_gives_instead_is_told(path, monkeypatch):
    driver = FakeDriver(path, shots(*JPEGS), sizes=((64, 48), (32, 24)), rate=15)
    driver.install(monkeypatch)
    notes = []
    camera = UsbCamera(str(path), (30, 20), Fraction(60), on_note=notes.append)
    read(camera, 1)
    assert camera.info.size == (32, 24)
    assert camera.info.rate == 15
    assert notes == [
        f"{path} gives 32x24 px, not 30x20",
        f"{path} gives 15 frames a second, not 60",
    ]


def test_a_clock_that_is_not_monotonic_is_not_used(path, monkeypatch):
    FakeDriver(path, [Shot(JPEGS[0], 0, seconds_ago=1.5)], monotonic=False).install(monkeypatch)
    (frame,) = read(UsbCamera(str(path)), 1)
    assert time.monotonic() - frame.captured < 1
    FakeDriver(path, [Shot(JPEGS[0], 0, seconds_ago=3600)]).install(monkeypatch)
    (frame,) = read(UsbCamera(str(path)), 1)
    assert time.monotonic() - frame.captured < 1000


def test_what_is_wrong_with_a_camera_is_told(path, monkeypatch, tmp_path):
    monkeypatch.setattr(v4l2, "list_cameras", list)
    with pytest.raises(StreamError, match=r"^no camera at .*video7; no camera is there: plug"):
        read(UsbCamera(str(tmp_path / "video7")), 1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StreamError, match="is no V4L2 camera"):
        read(UsbCamera(str(tmp_path / "file")), 1)
    FakeDriver(path, (), capture=False).install(monkeypatch)
    with pytest.raises(StreamError, match=r"\(Fake Camera\) gives no pictures"):
        read(UsbCamera(str(path)), 1)
    FakeDriver(path, (), formats=("H264", "RGBP")).install(monkeypatch)
    with pytest.raises(StreamError, match="gives H264, RGBP; it must be one of MJPG, JPEG, YUYV"):
        read(UsbCamera(str(path)), 1)
    driver = FakeDriver(path, ()).install(monkeypatch)
    driver.failing = {"S_FMT": errno.EACCES}
    with pytest.raises(StreamError, match=r"run: sudo usermod -aG video \$USER"):
        read(UsbCamera(str(path)), 1)


def test_who_uses_a_camera_is_told(path, monkeypatch):
    driver = FakeDriver(path, ()).install(monkeypatch)
    driver.failing = {"S_FMT": errno.EBUSY}
    program = f"import sys; f = open({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StreamError, match=rf"is in use by python\S* \(process {holder.pid}\)"):
            read(UsbCamera(str(path)), 1)


def test_a_silent_camera_is_an_error(path, monkeypatch):
    FakeDriver(path, shots(*JPEGS)).install(monkeypatch)
    monkeypatch.setattr("linuxpy.io.select.select", lambda *_: ([], [], []))
    with pytest.raises(StreamError, match="has given no frame for 5 s"):
        read(UsbCamera(str(path)), 1)


def test_unplugged_and_back_100_times_leaves_nothing_behind(path, monkeypatch):
    monkeypatch.setattr(v4l2, "_other_cameras", str)
    drivers = []

    def plug_in():
        drivers.append(FakeDriver(path, shots(*JPEGS[:3])).install(monkeypatch))
        return UsbCamera(str(path))

    before = open_handles()
    statuses = []
    camera = Reconnecting(plug_in, lambda *status: statuses.append(status), wait=lambda _: None)
    frames = camera.frames()
    indices, times = [], []
    for _ in range(303):
        frame = next(frames)
        indices.append(frame.index)
        times.append(frame.pts)
        if frame.index == 3:
            handles, threads = open_handles(), threading.active_count()
    assert indices == list(range(303))
    assert times == sorted(set(times))
    assert camera.reconnections == 100
    assert [state for state, _ in statuses] == 100 * ["reconnecting", "running"]
    assert open_handles() == handles
    assert threading.active_count() == threads
    frames.close()
    assert open_handles() == before


def test_cameras_of_the_machine(path, monkeypatch, tmp_path):
    FakeDriver(path, ()).install(monkeypatch)
    (found,) = list_cameras(str(tmp_path))
    assert (found.path, found.name, found.formats) == (
        str(path),
        "Fake Camera",
        ("YUYV", "MJPG"),
    )


def test_a_camera_by_its_name():
    camera = open_source("/dev/video3?size=1280x720&rate=29.97")
    assert camera.name == "/dev/video3"
    assert camera.is_live
    assert camera.info.size == (1280, 720)
    assert camera.info.rate == Fraction(2997, 100)
    with pytest.raises(StreamError, match=r"it takes size= and rate=; write /dev/video0\?size="):
        open_source("/dev/video0?fps=30")
