"""Upright frames in all eight orientations, written by PyAV."""

import numpy as np
import pytest
from video_files import write_video

from unet_edge.streams.video_file import VideoFile

av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_are_upright_in_every_orientation(turns, mirrored, tmp_path):
    plain = write_video(tmp_path / "plain.mp4", "-c:v", "mpeg4", frames=1)
    stored = np.asarray(next(VideoFile(plain).frames()).image)
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as output, av.open(str(plain)) as source:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.qmin = 160, 120, "yuv420p", 1
        stream.set_display_rotation(90 * turns, hflip=mirrored)  # counterclockwise, then mirrored
        for frame in source.decode(video=0):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    expected = np.rot90(stored, turns)
    if mirrored:
        expected = expected[:, ::-1]
    video = VideoFile(path)
    shown = np.asarray(next(video.frames()).image)
    assert shown.shape == expected.shape
    # Encoded twice, so that pixels differ a little; in any other orientation by 50 on average.
    assert np.abs(shown.astype(int) - expected).mean() < 10
    assert video.info.size == expected.shape[1::-1]
