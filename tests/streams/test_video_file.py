"""Video files: every frame, with its own time and with the pixels of the file, on any processor."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import RATE, ffmpeg, frame_times, reference_frames, write_video

from unet_edge.errors import ConfigError, StreamError
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.streams.open_source import open_source
from unet_edge.streams.video_file import VideoFile

pytest.importorskip("av", reason="PyAV is not installed")

SIZE = 160, 120
B_FRAMES = ("-bf", "3", "-g", "8")

# name: (file, options of ffmpeg, how the pixels are stored)
CODECS = {
    "h264": ("clip.mp4", ("-c:v", "libx264", *B_FRAMES), {}),
    "h264 with open groups": (
        "clip.mkv", ("-c:v", "libx264", *B_FRAMES, "-x264-params", "open-gop=1"), {},
    ),
    "h264 with gradual refresh": (
        "clip.mkv", ("-c:v", "libx264", "-g", "8", "-x264-params", "intra-refresh=1"), {},
    ),
    "h264 without a container": ("clip.h264", ("-c:v", "libx264", *B_FRAMES), {}),
    "h264 of 10 bits": ("clip.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), {}),
    "h264 of 4:4:4": ("clip.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv444p"), {}),
    "h264 of RGB": ("clip.mkv", ("-c:v", "libx264rgb"), {}),
    "h264, interlaced": (
        "clip.mp4", ("-c:v", "libx264", "-flags", "+ildct+ilme"), {"interlaced": True},
    ),
    "hevc with open groups": (
        "clip.mkv", ("-c:v", "libx265", "-x265-params", "log-level=none:open-gop=1:keyint=8"), {},
    ),
    "vp9": ("clip.webm", ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-g", "8"), {}),
    "av1": ("clip.mp4", ("-c:v", "libsvtav1", "-preset", "12", "-g", "8"), {}),
    "mpeg4": ("clip.avi", ("-c:v", "mpeg4", "-bf", "2", "-g", "8"), {}),
    "mjpeg": ("clip.mov", ("-c:v", "mjpeg"), {"span": "full"}),
    "mpeg2": ("clip.ts", ("-c:v", "mpeg2video", "-bf", "2", "-g", "8"), {}),
    "prores, 4:2:2 of 10 bits": ("clip.mov", ("-c:v", "prores_ks"), {}),
    "ffv1": ("clip.mkv", ("-c:v", "ffv1", "-g", "4"), {}),
    "ffv1 of RGB": ("clip.mkv", ("-c:v", "ffv1", "-pix_fmt", "bgr0"), {}),
    "ffv1 of grey": ("clip.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray"), {"span": "full"}),
    "theora": ("clip.ogv", ("-c:v", "libtheora"), {}),
    "wmv2": ("clip.wmv", ("-c:v", "wmv2"), {}),
    "flv": ("clip.flv", ("-c:v", "flv"), {}),
}  # fmt: skip
WITHOUT_TIMES = ("h264 without a container", "mpeg4")  # of their frames; only of their packets
LATE = "setpts='if(lt(N,8),N,8+(N-8)*3)/25/TB'"  # three times slower from the ninth frame on


@pytest.fixture(scope="module")
def segmenter(bundle_path):
    return Segmenter.open(bundle_path)


@pytest.fixture
def encoded(once):
    """Writes the video of a codec, once for all tests."""

    def encoded(codec):
        name, encoding, _ = CODECS[codec]

        def write(folder):
            folder.mkdir()
            write_video(folder / name, *encoding)

        return once(f"video {codec.replace(':', '')}", write) / name

    return encoded


@pytest.fixture
def h264(tmp_path):
    return write_video(tmp_path / "clip.mp4", "-c:v", "libx264", *B_FRAMES)


def pixels(frame):
    return np.asarray(frame.image)


def read(path, **settings):
    return [
        (frame.index, frame.pts, pixels(frame)) for frame in VideoFile(path, **settings).frames()
    ]


def assert_same(some, others):
    assert [entry[:2] for entry in some] == [entry[:2] for entry in others]
    for (*_, one), (*_, other) in zip(some, others, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("codec", CODECS)
def test_frames_have_the_pixels_that_ffmpeg_gives_without_vector_instructions(codec, encoded):
    path = encoded(codec)
    expected = reference_frames(path, SIZE, **CODECS[codec][2])
    video = VideoFile(path)
    frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(20))
    assert video.damaged == 0
    assert video.warnings == []
    assert video.info.size == SIZE
    for frame, reference in zip(frames, expected, strict=True):
        assert np.array_equal(pixels(frame), reference)
        assert (frame.native.width, frame.native.height) == SIZE


@pytest.mark.parametrize(
    "codec", ["h264", "hevc with open groups", "vp9", "mpeg2", "prores, 4:2:2 of 10 bits"]
)
def test_the_mask_of_a_frame_is_that_of_the_same_frame_as_a_picture(
    codec, segmenter, encoded, tmp_path
):
    path = encoded(codec)
    references = reference_frames(path, SIZE, **CODECS[codec][2])
    count = 0
    with segmenter.stream(path) as stream:
        for frame, mask in stream:
            picture = tmp_path / f"{frame.index}.png"
            Image.fromarray(references[frame.index]).save(picture)
            assert np.array_equal(mask.labels, segmenter.segment(picture).labels)
            assert mask.labels.shape == SIZE[::-1]
            count += 1
    assert count == 20


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec not in WITHOUT_TIMES])
def test_times_are_those_of_the_file(codec, encoded):
    path = encoded(codec)
    assert [frame.pts for frame in VideoFile(path).frames()] == frame_times(path)


@pytest.mark.parametrize("codec", WITHOUT_TIMES)
def test_times_that_a_file_lacks_follow_its_frame_rate(codec, encoded):
    # ffprobe 5.1 guesses other times for these: it counts from the order of decoding.
    frames = list(VideoFile(encoded(codec)).frames())
    steps = {after.pts - before.pts for before, after in pairwise(frames)}
    assert [step * frames[0].time_base for step in steps] == [Fraction(1, RATE)]


def test_a_variable_frame_rate_is_kept(tmp_path):
    path = write_video(tmp_path / "clip.mkv", "-c:v", "libx264", frames=14, filters=LATE)
    times = [frame.time for frame in VideoFile(path).frames()]
    assert times[:9] == pytest.approx([number / RATE for number in range(9)])
    assert times[9:] == pytest.approx([(8 + number * 3) / RATE for number in range(1, 6)])


@pytest.mark.parametrize("codec", CODECS)
def test_reading_goes_on_where_it_ended_with_the_same_frames(codec, encoded):
    path = encoded(codec)
    whole = read(path)
    for index in (0, 1, 7, 8, 9, 13, 19):
        assert_same(read(path, resume_at=whole[index][:2]), whole[index:])


def test_reading_goes_on_in_a_variable_frame_rate(tmp_path):
    path = write_video(tmp_path / "clip.mkv", "-c:v", "libx264", "-g", "4", frames=14, filters=LATE)
    whole = read(path)
    assert_same(read(path, resume_at=whole[11][:2]), whole[11:])


def test_every_nth_frame_of_a_part_is_given_with_its_number_in_the_part(h264):
    whole = read(h264)
    part = read(h264, start=0.16, stop=0.6, every=5)
    assert [entry[0] for entry in part] == [0, 5, 10]
    assert_same([(0, *entry[1:]) for entry in part], [(0, *entry[1:]) for entry in whole[4:15:5]])
    video = VideoFile(h264, start=0.16, stop=0.6, every=5)
    assert (video.info.frames, video.info.rate) == (3, 5)
    assert video.info.duration == pytest.approx(0.44)
    resumed = read(h264, start=0.16, stop=0.6, every=5, resume_at=part[1][:2])
    assert_same(resumed, part[1:])


def test_a_part_begins_at_seconds_from_the_beginning_of_the_file(tmp_path):
    path = write_video(tmp_path / "clip.ts", "-c:v", "libx264", *B_FRAMES)
    whole = read(path)
    assert whole[0][1] > 90_000  # a transport stream begins later than 1 s
    part = read(path, start=0.4)
    assert_same([(0, *entry[1:]) for entry in part], [(0, *entry[1:]) for entry in whole[10:]])
    assert [entry[0] for entry in part] == list(range(10))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_a_part_that_starts_at_the_time_of_a_frame_begins_with_it(name, tmp_path):
    path = write_video(tmp_path / name, "-c:v", "libx264", *B_FRAMES, frames=60)
    origin, *others = VideoFile(path).frames()
    for frame in others:
        start = float((frame.pts - origin.pts) * frame.time_base)
        assert next(VideoFile(path, start=start).frames()).pts == frame.pts


def test_a_part_without_frames_is_refused(h264):
    with pytest.raises(StreamError, match=r"no frame at 5 s or later; what was read ends at 0\.80"):
        read(h264, start=5)
    with pytest.raises(StreamError, match=r"no frame at 0\.41 s or later and before 0\.43 s"):
        read(h264, start=0.41, stop=0.43)


def test_a_file_that_changed_is_not_resumed(h264):
    with pytest.raises(StreamError, match=r"frame 3 is at 0\.120 s; it was at 0\.119 s"):
        read(h264, resume_at=(3, 3 * 512 - 7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "at least 1"),
        ({"start": -1}, "at least 0"),
        ({"start": 2, "stop": 1}, "stop must be after start"),
        ({"stop": float("nan")}, "at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        VideoFile("clip.mp4", **settings)


def test_what_is_known_before_the_first_frame(h264):
    info = VideoFile(h264).info
    assert (info.size, info.rate, info.frames) == (SIZE, RATE, 20)
    assert info.duration == pytest.approx(0.8)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_video_is_upright(degrees, h264, tmp_path):
    path = tmp_path / "rotated.mp4"
    ffmpeg("-i", h264, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", path)
    frame = next(VideoFile(path).frames())
    stored = reference_frames(path, SIZE)[0]
    shown = _as_ffmpeg_shows(path, SIZE if degrees == 180 else SIZE[::-1])
    turns = next(turns for turns in range(4) if _resembles(np.rot90(stored, turns), shown))
    assert turns == degrees // 90
    assert np.array_equal(pixels(frame), np.rot90(stored, turns))
    assert frame.native is None
    assert VideoFile(path).info.size == frame.image.size


def _as_ffmpeg_shows(path, size):
    data = ffmpeg("-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)


def _resembles(one, other):
    # By another conversion, so alike but not equal; turned otherwise, half the pixels differ.
    return one.shape == other.shape and np.abs(one.astype(int) - other).mean() < 10


@pytest.mark.parametrize(("size", "encoding", "stored"), [
    ((161, 121), ("-c:v", "ffv1"), {}),
    ((161, 121), ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"), {"span": "full"}),
    ((3, 5), ("-c:v", "ffv1"), {}),
])  # fmt: skip
def test_odd_sizes(size, encoding, stored, tmp_path):
    scaling = f"scale={size[0]}:{size[1]}"  # the test pictures have even sides
    path = write_video(tmp_path / "odd.mkv", *encoding, filters=scaling, frames=3)
    for frame, reference in zip(
        VideoFile(path).frames(), reference_frames(path, size, **stored), strict=True
    ):
        assert np.array_equal(pixels(frame), reference)


def test_the_size_may_change_within_a_file(tmp_path):
    for name, size in (("a", (160, 120)), ("b", (96, 200))):
        write_video(tmp_path / f"{name}.ts", "-c:v", "libx264", "-bf", "0", size=size, frames=30)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    video = VideoFile(path)
    frames = list(video.frames())
    assert [frame.image.size for frame in frames] == [(160, 120)] * 30 + [(96, 200)] * 30
    # The second recording's clock begins anew; its frames follow the first one's.
    assert all(after.pts - before.pts == 3600 for before, after in pairwise(frames))
    whole = read(path)
    assert_same(read(path, resume_at=whole[37][:2]), whole[37:])


def test_the_pixel_format_may_change_within_a_file(tmp_path):
    # As some cameras for wildlife write them; https://github.com/opencv/opencv/issues/29699
    parts = []
    for form in ("yuvj422p", "yuvj420p"):
        part = write_video(tmp_path / f"{form}.mjpg", "-c:v", "mjpeg", "-pix_fmt", form, frames=2)
        parts.append((part.read_bytes(), reference_frames(part, SIZE, span="full")))
    whole = tmp_path / "both.mjpg"
    whole.write_bytes(b"".join(data for data, _ in parts))
    path = tmp_path / "both.avi"
    ffmpeg("-i", whole, "-c", "copy", path)
    frames = list(VideoFile(path).frames())
    assert [frame.native.format.name for frame in frames] == ["yuvj422p"] * 2 + ["yuvj420p"] * 2
    expected = np.concatenate([references for _, references in parts])
    for frame, reference in zip(frames, expected, strict=True):
        assert np.array_equal(pixels(frame), reference)


def test_a_pixel_aspect_ratio_is_not_applied(tmp_path):
    path = write_video(tmp_path / "wide.mp4", "-c:v", "libx264", "-aspect", "16:9", frames=2)
    assert next(VideoFile(path).frames()).image.size == SIZE


@pytest.mark.parametrize(
    ("size", "tags", "stored"),
    [
        ((160, 120), (), {"matrix": "bt601"}),
        ((1280, 720), (), {"matrix": "bt709"}),
        ((720, 1280), (), {"matrix": "bt709"}),
        ((160, 120), ("-colorspace", "bt709"), {"matrix": "bt709"}),
        ((160, 120), ("-colorspace", "bt2020nc"), {"matrix": "bt2020"}),
        ((1280, 720), ("-colorspace", "smpte170m"), {"matrix": "bt601"}),
        ((160, 120), ("-color_range", "pc"), {"span": "full"}),
    ],
)
def test_colours_are_as_tagged_and_else_by_the_number_of_lines(size, tags, stored, tmp_path):
    path = write_video(tmp_path / "clip.mkv", "-c:v", "ffv1", *tags, size=size, frames=1)
    frame = next(VideoFile(path).frames())
    assert np.array_equal(pixels(frame), reference_frames(path, size, **stored)[0])


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_hdr_is_read_with_a_warning(transfer, name, tmp_path):
    path = write_video(
        tmp_path / "hdr.mkv", "-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt",
        "yuv420p10le", "-color_trc", transfer, "-colorspace", "bt2020nc", frames=2,
    )  # fmt: skip
    video = VideoFile(path)
    assert len(list(video.frames())) == 2
    assert len(video.warnings) == 1
    assert f"HDR ({name})" in video.warnings[0]


def test_transparent_pixels_show_white(tmp_path):
    path = write_video(
        tmp_path / "clip.mov", "-c:v", "qtrle", "-pix_fmt", "argb", frames=2,
        filters="format=argb,colorchannelmixer=aa=0",
    )  # fmt: skip
    assert np.all(pixels(next(VideoFile(path).frames())) == 255)


def test_closing_early_frees_the_file(h264):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    frames = VideoFile(h264).frames()
    next(frames)
    assert open_files() == before + 1
    frames.close()
    assert open_files() == before


def test_names_with_a_colon_or_percent_are_files(h264, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:clip.mp4", "concat:a|b.mp4", "clip%03d.mp4", "-i.mp4", "ä ö.mp4"):
        (tmp_path / name).write_bytes(h264.read_bytes())
        assert len(list(open_source(f"./{name}").frames())) == 20
        assert len(list(VideoFile(name).frames())) == 20
