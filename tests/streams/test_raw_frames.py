"""Raw frames on standard input, written by ffmpeg."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from system_programs import require_program

from unet_edge.errors import StreamError
from unet_edge.streams.open_source import open_source
from unet_edge.streams.pixel_layouts import PixelLayout
from unet_edge.streams.raw_frames import RawFrames

LAYOUT = PixelLayout("rgb24", (4, 2))


def test_frames_of_a_pipe():
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    source = "-f lavfi -i testsrc2=s=96x64:r=5:d=2 -f rawvideo -pix_fmt"
    pixels = subprocess.run(
        [ffmpeg, "-v", "error", *source.split(), "rgb24", "-"], capture_output=True, check=True
    ).stdout
    program = (
        "from unet_edge.streams.open_source import open_source; import sys\n"
        "source = open_source('-?size=96x64&format=rgb24&rate=5')\n"
        "for frame in source.frames():\n"
        "    print(frame.index, frame.time, file=sys.stderr)\n"
        "    sys.stdout.buffer.write(frame.image.tobytes())\n"
    )
    with subprocess.Popen(
        [ffmpeg, "-v", "error", *source.split(), "rgb24", "-"], stdout=subprocess.PIPE
    ) as writer:
        reader = subprocess.run(
            [sys.executable, "-c", program], stdin=writer.stdout, capture_output=True, check=True
        )
    assert reader.stdout == pixels
    assert reader.stderr.decode().splitlines() == [f"{index} {index / 5}" for index in range(10)]


def test_a_short_frame_at_the_end_is_left_out_with_a_note(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(range(24)) * 2 + b"12345")
    notes = []
    source = RawFrames(LAYOUT, str(tmp_path / "raw"), on_note=notes.append)
    frames = list(source.frames())
    assert len(frames) == 2
    assert np.array_equal(frames[1].image, np.arange(24).reshape(2, 4, 3))
    (note,) = notes
    assert "the last 5 bytes are left out, because a frame of 4x2 rgb24 has 24 bytes" in note


def test_no_complete_frame_is_an_error(tmp_path):
    (tmp_path / "raw").write_bytes(b"12345")
    with pytest.raises(StreamError, match=r"has 5 bytes; a frame of 4x2 rgb24 has 24 bytes; check"):
        list(RawFrames(LAYOUT, str(tmp_path / "raw")).frames())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-?size=4x2", "without a pixel format; give both"),
        ("-?format=rgb24", "without a size"),
        ("-?size=4&format=rgb24", "the size 4; it must be WIDTHxHEIGHT"),
        ("-?size=0x2&format=rgb24", "the size 0x2"),
        ("-?size=4x2&format=rgb9", "rgb9 is unknown; it must be one of rgb24, bgr24"),
        ("-?size=4x2&format=rgb24&rate=0", "the rate 0"),
        ("-?quality=3", "quality=3 behind .; it takes size= and format= and rate="),
    ],
)
def test_settings_that_cannot_be_read(name, message):
    with pytest.raises(StreamError, match=message):
        open_source(name)


def test_a_reader_that_waits_for_bytes_can_be_interrupted(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    handle = os.open(tmp_path / "pipe", os.O_RDWR)  # a writer that stays silent
    os.write(handle, bytes(24))
    source = RawFrames(LAYOUT, str(tmp_path / "pipe"))
    frames = source.frames()
    assert next(frames).index == 0
    timer = threading.Timer(0.1, source.interrupt)
    timer.start()
    assert list(frames) == []
    timer.join()
    os.close(handle)
