"""Damaged files, and files that are no videos or name other files."""

import os

import numpy as np
import pytest
from video_files import ffmpeg, write_video

from unet_edge.errors import StreamError
from unet_edge.streams.video_file import VideoFile

pytest.importorskip("av", reason="PyAV is not installed")


def cut(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4", "clip.avi"])
def test_a_file_that_was_cut_off_gives_its_frames_and_a_warning(name, tmp_path):
    whole = write_video(
        tmp_path / name, "-c:v", "mpeg4", "-q", "2", "-movflags", "+faststart", frames=100
    )
    expected = [np.asarray(frame.image) for frame in VideoFile(whole).frames()]
    video = VideoFile(cut(whole))
    frames = list(video.frames())
    assert 40 < len(frames) < 80
    # The last frame may be cut within.
    for frame, image in zip(frames[:-1], expected, strict=False):
        assert np.array_equal(frame.image, image)
    if name != "clip.avi":  # whose length FFmpeg takes from what is there
        assert "the header says 4.00 s: the file may be cut off" in video.warnings[0]


def test_a_recording_without_its_index_is_named_so(tmp_path):
    path = cut(write_video(tmp_path / "clip.mp4", "-c:v", "libx264"))
    with pytest.raises(StreamError, match="a recording that was cut off has no index"):
        next(VideoFile(path).frames())


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.mkv"])
def test_garbage_anywhere_is_noticed_and_skipped(name, tmp_path):
    """Where the encoder lays a packet depends on its version and on the processor."""
    path = write_video(
        tmp_path / name, "-c:v", "libx264", "-g", "10", "-cluster_time_limit", "400", frames=100
    )
    whole = path.read_bytes()
    expected = {frame.pts: np.asarray(frame.image) for frame in VideoFile(path).frames()}
    passed_over = 0
    for begin in np.linspace(0.4, 0.6, 21) * len(whole):
        data = bytearray(whole)
        data[int(begin) : int(begin) + 4000] = np.random.default_rng(0).bytes(4000)
        path.write_bytes(data)
        video = VideoFile(path)
        frames = list(video.frames())
        assert 60 < len(frames) <= 100
        intact = [
            frame.pts in expected and np.array_equal(frame.image, expected[frame.pts])
            for frame in frames
        ]
        assert all(intact[:30])
        assert all(intact[-10:])
        lost = len(frames) < 100
        assert video.damaged or any("there are no frames from" in each for each in video.warnings)
        passed_over += lost and not video.damaged
    if name == "clip.mkv":  # whose demuxer passes over some damage without a word
        assert passed_over


def test_files_that_are_no_video_are_named_for_what_they_are(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 1000)
    (tmp_path / "folder.mp4").mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc2", "-frames:v", "1", tmp_path / "photo.jpg")
    ffmpeg("-f", "lavfi", "-i", "testsrc2", "-frames:v", "1", tmp_path / "photo.png")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "tone.wav")
    ffmpeg(
        "-f", "lavfi", "-i", "sine=d=1", "-i", tmp_path / "photo.jpg", "-map", "0", "-map", "1",
        "-c:v", "mjpeg", "-disposition:v", "attached_pic", tmp_path / "tone.mp3",
    )  # fmt: skip
    for name, message in {
        "empty.mp4": "is empty",
        "text.mp4": "is damaged, or no video file",
        "folder.mp4": "it is a folder, not a file",
        "photo.jpg": "is a picture, not a video",
        "photo.png": "is a picture, not a video",
        "tone.wav": "has no video, only audio",
        "tone.mp3": "has no video, only audio",
        "missing.mp4": "No such file or directory",
    }.items():
        video = VideoFile(tmp_path / name)
        with pytest.raises(StreamError, match=message) as caught:
            next(video.frames())
        assert str(tmp_path / name) in str(caught.value)
        with pytest.raises(StreamError, match=message):
            _ = video.info


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named_so(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "-c:v", "libx264")
    path.chmod(0)
    with pytest.raises(StreamError, match="Permission denied"):
        next(VideoFile(path).frames())


def test_without_pyav_the_error_names_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    with pytest.raises(StreamError, match=r"run: pip install 'unet-edge\[video\]'"):
        next(VideoFile(path).frames())


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.mpd", "list.sdp", "list.mp4"])
def test_a_file_cannot_name_other_files_to_be_read(name, tmp_path):
    import av

    write_video(tmp_path / "secret.ts", "-c:v", "mpeg2video")
    target = tmp_path / "secret.ts"
    text = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{target}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
        "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f"<Period><AdaptationSet><Representation><BaseURL>file://{target}</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "list.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    }[name]
    path = tmp_path / name
    path.write_text(text)
    if name in ("list.m3u8", "list.ffconcat"):  # the danger is real
        with av.open(str(path)) as opened:
            assert opened.streams.video
    with pytest.raises(StreamError, match="is damaged, or no video file"):
        next(VideoFile(path).frames())


def test_numbered_pictures_are_not_read_by_a_pattern(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2", "-frames:v", "3", tmp_path / "photo%d.jpg")
    path = tmp_path / "photo%d.jpg"
    path.write_text("the pattern itself")
    with pytest.raises(StreamError, match="no video file"):
        next(VideoFile(path).frames())


def test_ffmpeg_writes_nothing_to_the_terminal(capfd, tmp_path):
    path = write_video(tmp_path / "clip.ts", "-c:v", "libx264")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 2000] = bytes(2000)
    path.write_bytes(data)
    list(VideoFile(path).frames())
    assert capfd.readouterr() == ("", "")
