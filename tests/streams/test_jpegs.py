"""Pictures one after another, written by ffmpeg and GStreamer, and raw frames beside them."""

import io
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from patterns import decoded, encoded, pattern
from PIL import Image
from system_programs import require_program

from unet_edge.errors import ImageError, StreamError
from unet_edge.images.decoding import decode
from unet_edge.streams.jpegs import PictureStream
from unet_edge.streams.open_source import open_source
from unet_edge.streams.picture_splitting import split_pictures

FIRST, SECOND = (encoded(Image.fromarray(pattern(48, side)), "JPEG") for side in (32, 16))


@pytest.fixture
def ffmpeg():
    return require_program("ffmpeg", package="ffmpeg")


def clip(ffmpeg, path, *options):
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=5:d=2", *options, path],
        check=True,
    )
    return path


def test_an_mjpeg_file_of_ffmpeg(ffmpeg, tmp_path):
    path = clip(ffmpeg, tmp_path / "clip.mjpeg")
    one_by_one = tmp_path / "%02d.jpg"
    subprocess.run([ffmpeg, "-v", "error", "-i", path, "-c", "copy", one_by_one], check=True)
    source = open_source(str(path))
    assert not source.is_live
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(10))
    for frame in frames:
        assert frame.image == (tmp_path / f"{frame.index + 1:02}.jpg").read_bytes()
    assert [frame.time for frame in frames[:3]] == [0, 0.04, 0.08]


def test_png_pictures_of_ffmpeg(ffmpeg, tmp_path):
    path = clip(ffmpeg, tmp_path / "pictures", "-f", "image2pipe", "-c:v", "png")
    raw = clip(ffmpeg, tmp_path / "raw", "-f", "rawvideo", "-pix_fmt", "rgb24")
    pixels = np.fromfile(raw, np.uint8).reshape(-1, 64, 96, 3)
    frames = list(PictureStream(str(path), rate=Fraction(5)).frames())
    assert frames[3].time == 0.6
    assert np.array_equal([np.asarray(decode(frame.image)) for frame in frames], pixels)


def test_jpegs_of_gstreamer(tmp_path):
    gst = require_program("gst-launch-1.0", package="gstreamer1.0-tools")
    path = tmp_path / "stream.mjpg"
    pipeline = "videotestsrc num-buffers=4 ! video/x-raw,width=80,height=48 ! jpegenc ! fdsink"
    with path.open("wb") as file:
        subprocess.run([gst, "-q", *pipeline.split()], stdout=file, check=True)
    sizes = [decoded(frame.image).shape for frame in open_source(str(path)).frames()]
    assert sizes == 4 * [(48, 80, 3)]


def test_a_damaged_picture_fails_alone(tmp_path):
    path = tmp_path / "stream.mjpeg"
    path.write_bytes(FIRST + FIRST[:-300] + SECOND)
    first, damaged, second = PictureStream(str(path)).frames()
    assert first.image == FIRST
    assert second.image == SECOND
    assert second.index == 2
    with pytest.raises(ImageError, match=r"^picture 2 of .*stream.mjpeg is damaged: the next pic"):
        _ = damaged.image


def test_a_picture_cut_by_the_end_is_left_out_with_a_note(tmp_path):
    path = tmp_path / "stream.mjpeg"
    path.write_bytes(FIRST + SECOND[:-5])
    notes = []
    source = PictureStream(str(path), on_note=notes.append)
    assert [frame.image for frame in source.frames()] == [FIRST]
    assert notes == [f"{path} ends within picture 2; it is left out"]


def test_a_jpeg_without_huffman_tables_as_usb_cameras_send_it():
    tables = {}
    data, at = FIRST, 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big") + 2
        tables.setdefault(data[at + 1], []).append(data[at : at + length])
        at += length
    without = data
    for table in tables[0xC4]:
        without = without.replace(table, b"")
    assert len(without) < len(data)
    assert np.array_equal(decoded(without), decoded(data))


def test_an_input_without_pictures(tmp_path):
    (tmp_path / "text.mjpeg").write_bytes(b"no picture")
    with pytest.raises(StreamError, match="has no picture; JPEG or PNG"):
        list(open_source(str(tmp_path / "text.mjpeg")).frames())
    (tmp_path / "folder.mjpeg").mkdir()
    with pytest.raises(StreamError, match=r"cannot read .*folder.mjpeg: Is a directory"):
        list(PictureStream(str(tmp_path / "folder.mjpeg")).frames())
    with pytest.raises(StreamError, match="no such file"):
        open_source(str(tmp_path / "missing.mjpeg"))


def test_a_closed_iterator_closes_the_file(tmp_path):
    path = tmp_path / "stream.mjpeg"
    path.write_bytes(FIRST * 3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        frames = PictureStream(str(path)).frames()
        next(frames)
        frames.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_memory_holds_one_picture_however_long_the_stream_is():
    buffer = io.BytesIO(FIRST * 1000)
    longest = 0

    def read(most):
        nonlocal longest
        longest = max(longest, most)
        return buffer.read(most)

    assert sum(1 for _ in split_pictures(read)) == 1000
    assert longest == 2**16
