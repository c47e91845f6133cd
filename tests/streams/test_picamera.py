"""The Raspberry Pi's camera. No camera was run: arrays in each layout that picamera2 documents."""

import concurrent.futures
import sys
import time
from fractions import Fraction
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from patterns import pattern

from unet_edge.errors import StreamError
from unet_edge.streams.open_source import open_source
from unet_edge.streams.picamera import FORMATS, RaspberryPiCamera, layout_of
from unet_edge.streams.pixel_layouts import PixelLayout
from unet_edge.streams.reconnect import Reconnecting
from unet_edge.streams.yuv_colors import YuvColors

PIXELS = pattern(6, 4)

# Memory as the Picamera2 manual says in "Image formats": names are those of a little-endian word.
MEMORY = {
    "RGB888": PIXELS[..., ::-1],
    "BGR888": PIXELS,
    "XRGB8888": np.dstack((PIXELS[..., ::-1], np.full((4, 6), 255, np.uint8))),
    "XBGR8888": np.dstack((PIXELS, np.full((4, 6), 255, np.uint8))),
}


def color_space(encoding, value_range):
    return SimpleNamespace(
        ycbcrEncoding=SimpleNamespace(name=encoding), range=SimpleNamespace(name=value_range)
    )


def configuration(name, stride, size=(6, 4), space=None):
    return {
        "main": {"format": name, "size": size, "stride": stride, "framesize": stride * size[1]},
        "colour_space": space or color_space("Rec601", "Full"),
    }


def padded(rows, stride):
    rows = np.ascontiguousarray(rows).reshape(len(rows), -1)
    return np.pad(rows, ((0, 0), (0, stride - rows.shape[1])), constant_values=99)


@pytest.mark.parametrize("name", MEMORY)
@pytest.mark.parametrize("stride", [32, 64])
def test_each_format_of_pixels(name, stride):
    memory = padded(MEMORY[name], stride).ravel()
    assert np.array_equal(layout_of(configuration(name, stride)).rgb(memory), PIXELS)


@pytest.mark.parametrize(
    ("space", "colors"),
    [
        (color_space("Rec601", "Full"), YuvColors("bt601", full_range=True)),  # Sycc
        (color_space("Rec601", "Limited"), YuvColors("bt601", full_range=False)),  # Smpte170m
        (color_space("Rec709", "Limited"), YuvColors("bt709", full_range=False)),  # Rec709
    ],
)
def test_yuv420_with_padded_planes(space, colors):
    y = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    u, v = np.uint8([[90, 100, 110], [120, 130, 140]]), np.uint8([[160, 150, 140], [1, 2, 3]])
    # 64 bytes a row of Y, 32 a row of U and V.
    memory = np.concatenate([padded(y, 64).ravel(), padded(u, 32).ravel(), padded(v, 32).ravel()])
    layout = layout_of(configuration("YUV420", 64, space=space))
    tight = PixelLayout("yuv420p", (6, 4), 0, colors).rgb(np.concatenate([y, u, v], axis=None))
    assert np.array_equal(layout.rgb(memory), tight)


def test_formats_of_the_sensor_are_refused():
    with pytest.raises(StreamError, match="gives SBGGR10_CSI2P; it must be one of RGB888, BGR888"):
        layout_of(configuration("SBGGR10_CSI2P", 64))
    assert set(FORMATS) >= {"RGB888", "BGR888", "XRGB8888", "XBGR8888", "YUV420"}


class FakePicamera2:
    """The methods of picamera2.Picamera2 that are used, with its types of arguments."""

    cameras = 1
    opened = 0
    lost_after = 1000
    given_format = None

    def __init__(self, number):
        type(self).opened += 1
        self.taken = 0

    @classmethod
    def global_camera_info(cls):
        return [{"Model": "imx708", "Num": number} for number in range(cls.cameras)]

    def create_video_configuration(self, main, buffer_count, queue, controls):
        self.asked = (main, buffer_count, queue, controls)
        return configuration(self.given_format or main["format"], 0, main["size"])

    def configure(self, config):
        width, height = config["main"]["size"]
        size = (width - width % 2, height - height % 2)  # picamera2's align_stream
        name = config["main"]["format"]
        stride = -(-size[0] * 3 // 64) * 64
        self.config = configuration(name, stride, size)

    def camera_configuration(self):
        return self.config

    def start(self):
        self.started = True

    def capture_request(self, wait):
        assert wait is False
        return object()

    def wait(self, job, timeout):
        self.taken += 1
        if self.taken > self.lost_after:
            raise concurrent.futures.TimeoutError
        return self

    def cancel_all_and_flush(self):
        self.flushed = True

    def make_buffer(self, stream):
        assert stream == "main"
        width, height = self.config["main"]["size"]
        rows = pattern(width, height)
        if self.config["main"]["format"] == "RGB888":
            rows = rows[..., ::-1]
        return padded(rows, self.config["main"]["stride"]).ravel()

    def get_metadata(self):
        return {"SensorTimestamp": time.monotonic_ns() - 12_000_000}

    def release(self):
        self.released = True

    def close(self):
        assert self.taken <= self.lost_after or self.flushed
        type(self).opened -= 1


@pytest.fixture
def picamera2(monkeypatch):
    camera = type("Picamera2", (FakePicamera2,), {"opened": 0})
    module = ModuleType("picamera2")
    module.Picamera2 = camera
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return camera


@pytest.mark.parametrize("name", [None, "RGB888"])
def test_frames_are_rgb_at_the_cameras_size_and_time(picamera2, name):
    picamera2.given_format = name
    notes = []
    camera = RaspberryPiCamera(0, (101, 61), Fraction(25), on_note=notes.append)
    frames = camera.frames()
    first, second = next(frames), next(frames)
    assert np.array_equal(first.image, pattern(100, 60))
    assert camera.info.size == (100, 60)
    assert notes == ["picamera:0 gives 100x60 px"]
    assert (first.index, second.index) == (0, 1)
    assert first.time == 0 < second.time
    assert 0.012 <= time.monotonic() - first.captured < 60
    frames.close()
    assert picamera2.opened == 0


def test_the_rate_and_few_buffers_are_asked_for(picamera2):
    asked = []
    picamera2.create_video_configuration = lambda self, **settings: (
        asked.append(settings) or configuration("BGR888", 0, (64, 48))
    )
    next(RaspberryPiCamera(0, (64, 48), Fraction(25)).frames())
    assert asked == [
        {
            "main": {"size": (64, 48), "format": "BGR888"},
            "buffer_count": 3,
            "queue": False,
            "controls": {"FrameDurationLimits": (40_000, 40_000)},
        }
    ]


def test_a_camera_that_is_lost_is_opened_again(picamera2):
    picamera2.lost_after = 2
    camera = Reconnecting(lambda: RaspberryPiCamera(0, (8, 6)), wait=lambda _: None)
    frames = camera.frames()
    assert [next(frames).index for _ in range(201)] == list(range(201))
    assert camera.reconnections == 100
    assert picamera2.opened == 1
    frames.close()
    assert picamera2.opened == 0


def test_what_is_wrong_is_told(picamera2, monkeypatch):
    picamera2.cameras = 0
    with pytest.raises(StreamError, match=r"no camera 0 on .*there are 0; check the ribbon cable"):
        next(RaspberryPiCamera(0).frames())
    picamera2.cameras = 1

    def busy(self, number):
        raise RuntimeError("Camera __init__ sequence did not complete.")

    monkeypatch.setattr(picamera2, "__init__", busy)
    with pytest.raises(StreamError, match=r"did not complete.*no other program may use the camera"):
        next(RaspberryPiCamera(0).frames())
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(StreamError, match="run: sudo apt install -y python3-picamera2"):
        open_source("picamera:1?size=640x480")


def test_a_camera_by_its_name(picamera2):
    camera = open_source("picamera:1?size=640x480&rate=10")
    assert camera.name == "picamera:1"
    assert camera.info.size == (640, 480)
