"""Files of several pictures as sources: their frames, times and depths."""

import shutil
import subprocess

import numpy as np
import pytest
from patterns import pattern
from PIL import Image
from system_programs import require_program

from unet_edge.errors import ImageError, StreamError
from unet_edge.images.decoding import decode, read_photo
from unet_edge.spec import ModelSpec
from unet_edge.streams.open_source import open_source

PICTURES = [Image.fromarray(np.roll(pattern(40, 24), 5 * k, axis=1)) for k in range(4)]


def pixels(frames):
    return [np.asarray(decode(frame.image)) for frame in frames]


def test_pages_of_a_tiff(tmp_path):
    path = tmp_path / "stack.tif"
    pages = [PICTURES[0], PICTURES[1].resize((16, 40)), PICTURES[2].convert("L")]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    source = open_source(str(path))
    assert (source.is_live, source.info.frames, source.info.size) == (False, 3, (40, 24))
    frames = list(source.frames())
    assert [frame.index for frame in frames] == [0, 1, 2]
    for found, page in zip(pixels(frames), pages, strict=True):
        assert np.array_equal(found, page.convert("RGB"))


def test_pages_of_16_bits_are_read_with_the_contracts_bit_depth(tmp_path):
    values = np.arange(40 * 24, dtype=np.uint16).reshape(24, 40)
    pages = [Image.fromarray(values + 1000 * k) for k in range(3)]
    pages[0].save(tmp_path / "deep.tif", save_all=True, append_images=pages[1:])
    spec = ModelSpec(16, 16, ("a", "b"), bit_depth=12)
    for frame, page in zip(open_source(str(tmp_path / "deep.tif")).frames(), pages, strict=True):
        page.save(tmp_path / "page.png")
        expected = np.asarray(read_photo(tmp_path / "page.png", spec).picture)
        assert np.array_equal(read_photo(frame.image, spec).picture, expected)
        assert expected.max() == (np.asarray(page).max() >> 4)


def test_frames_of_a_gif_are_complete_and_keep_their_durations(tmp_path):
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    path = tmp_path / "clip.gif"
    # ffmpeg stores only what changes, with transparency over the frame before.
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=s=80x60:r=5:d=2", path], check=True
    )
    whole = subprocess.run(
        [ffmpeg, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    frames = list(open_source(str(path)).frames())
    assert [frame.time for frame in frames] == [index / 5 for index in range(10)]
    assert np.array_equal(pixels(frames), np.frombuffer(whole, np.uint8).reshape(10, 60, 80, 3))


def test_durations_differ_from_frame_to_frame(tmp_path):
    path = tmp_path / "clip.gif"
    PICTURES[0].save(
        path, save_all=True, append_images=PICTURES[1:], duration=[50, 0, 300, 40], loop=0
    )
    # Browsers show a frame without a duration for 100 ms.
    assert [frame.time for frame in open_source(str(path)).frames()] == [0, 0.05, 0.15, 0.45]


def test_frames_of_a_webp(tmp_path):
    path = tmp_path / "clip.webp"
    PICTURES[0].save(
        path, save_all=True, append_images=PICTURES[1:], duration=[40, 60, 80, 100], lossless=True
    )
    frames = list(open_source(str(path)).frames())
    assert np.array_equal(pixels(frames), [np.asarray(picture) for picture in PICTURES])
    assert [frame.time for frame in frames] == [0, 0.04, 0.1, 0.18]


def test_a_damaged_frame_ends_an_animation(tmp_path):
    path = tmp_path / "clip.gif"
    PICTURES[0].save(path, save_all=True, append_images=PICTURES[1:])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 5 // 8])
    frames = list(open_source(str(path)).frames())
    assert 1 < len(frames) < 4
    with pytest.raises(ImageError, match=r"of .*clip\.gif is damaged"):
        _ = frames[-1].image


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF of another kind")
    with pytest.raises(StreamError, match="is not a picture that can be read"):
        open_source(str(tmp_path / "a.gif"))
    shutil.copy(tmp_path / "a.gif", tmp_path / "empty.tif")
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(StreamError, match=r"is empty \(0 bytes\)"):
        open_source(str(tmp_path / "empty.tif"))
