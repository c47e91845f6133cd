"""`unet-edge segment` of streams that are read once: pipes of other programs, cameras, MJPEG."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run_json
from PIL import Image
from system_programs import require_program

from unet_edge.batch.stream_run import run_name
from unet_edge.batch.video_segmenting import VideoOptions
from unet_edge.cli import main
from unet_edge.cli.stream import _opened
from unet_edge.cli.stream_options import stream_of
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.streams.test_pattern import TestPattern

pytest.importorskip("av", reason="the sinks of videos need PyAV")

SIZE = (96, 64)
CLIP = "-f lavfi -i testsrc2=s=96x64:r=10:d=1"
RAW = ["--frame-size", "96x64", "--pixel-format", "rgb24", "--frame-rate", "10"]


@pytest.fixture
def ffmpeg():
    return require_program("ffmpeg", package="ffmpeg")


def written(ffmpeg, options):
    return subprocess.run(
        [ffmpeg, "-v", "error", *CLIP.split(), *options.split(), "-"],
        capture_output=True,
        check=True,
    ).stdout


def piped(writer, *arguments):
    """Run `writer | unet-edge arguments` with a pipe of the system; gives its standard output."""
    with subprocess.Popen(writer, stdout=subprocess.PIPE) as program:
        done = subprocess.run(
            [sys.executable, "-m", "unet_edge", *map(str, arguments)],
            stdin=program.stdout,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(table):
    return list(csv.DictReader(table.read_text().splitlines()))


def expected_masks(bundle_path, pictures):
    segmenter = Segmenter.open(bundle_path)
    return [segmenter.segment(picture).labels for picture in pictures]


def test_raw_frames_of_ffmpeg(ffmpeg, bundle_path, tmp_path):
    frames = np.frombuffer(written(ffmpeg, "-f rawvideo -pix_fmt rgb24"), np.uint8)
    frames = frames.reshape(10, 64, 96, 3)
    report = json.loads(
        piped(
            [ffmpeg, "-v", "error", *CLIP.split(), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
            "segment", bundle_path, "-", *RAW, "--save", "csv,palette,overlay,index",
            "-o", tmp_path / "out", "--json",
        )
    )["stream"]  # fmt: skip
    assert report["frames"] == 10
    assert report["seconds"] == 0.9
    overlay, index, times, table = (tmp_path / "out" / name for name in report["files"])
    masks = expected_masks(bundle_path, frames)
    found = [np.asarray(Image.open(path)) for path in sorted(times.parent.glob("*.png"))]
    assert np.array_equal(found, masks)
    rows = rows_of(table)
    assert [float(row["time"]) for row in rows] == [k / 10 for k in range(10)]
    spec = Segmenter.open(bundle_path).spec
    share = (np.array(masks) == 1).mean(axis=(1, 2))
    assert [float(row[spec.classes[1]]) for row in rows] == pytest.approx(share)
    assert report["coverage"][spec.classes[1]] == pytest.approx(share.mean())
    assert [row["time"] for row in rows_of(times)] == [row["time"] for row in rows]
    raw = subprocess.run(
        [ffmpeg, "-v", "error", "-i", index, "-f", "rawvideo", "-pix_fmt", "gray", "-"],
        capture_output=True,
        check=True,
    ).stdout
    assert raw == np.array(masks).tobytes()
    assert overlay.stat().st_size > 1000


def test_raw_frames_in_and_out(ffmpeg, bundle_path):
    frames = np.frombuffer(written(ffmpeg, "-f rawvideo -pix_fmt rgb24"), np.uint8)
    masks = piped(
        [ffmpeg, "-v", "error", *CLIP.split(), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        "segment", bundle_path, "-", *RAW, "--save", "index", "-o", "-",
    )  # fmt: skip
    expected = expected_masks(bundle_path, frames.reshape(10, 64, 96, 3))
    assert masks == np.array(expected).tobytes()


def test_jpegs_of_gstreamer(bundle_path, tmp_path):
    gst = require_program("gst-launch-1.0", package="gstreamer1.0-tools")
    pipeline = "videotestsrc num-buffers=4 ! video/x-raw,width=96,height=64 ! jpegenc ! fdsink"
    output = piped(
        [gst, "-q", *pipeline.split()],
        "segment", bundle_path, "-", "--frames", "--save", "jsonl", "-o", tmp_path, "--json",
    )  # fmt: skip
    (table,) = (tmp_path / name for name in json.loads(output)["stream"]["files"])
    assert [json.loads(line)["index"] for line in table.read_text().splitlines()] == [0, 1, 2, 3]


def test_an_mjpeg_file_has_the_masks_of_its_pictures(ffmpeg, bundle_path, tmp_path):
    path = tmp_path / "clip.mjpeg"
    path.write_bytes(written(ffmpeg, "-f mjpeg"))
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", path, "-c", "copy", tmp_path / "%d.jpg"], check=True
    )
    report = run_json(
        "segment", bundle_path, path, "--save", "palette", "--every", "2", "--from", "0.1",
        "-o", tmp_path / "out",
    )  # fmt: skip
    times = tmp_path / "out" / report["stream"]["files"][0]
    names = sorted(picture.name for picture in times.parent.glob("*.png"))
    # Pictures count 25 a second: the third is the first even one after 0.1 s.
    assert names == ["000004.png", "000006.png", "000008.png"]
    masks = expected_masks(bundle_path, [tmp_path / f"{number}.jpg" for number in (5, 7, 9)])
    assert np.array_equal([np.asarray(Image.open(times.parent / name)) for name in names], masks)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_files(bundle_path, tmp_path, sent):
    command = ["segment", bundle_path, "pattern:96x64@20", "--save", "overlay,csv", "-o", tmp_path]
    with subprocess.Popen(
        [sys.executable, "-m", "unet_edge", *map(str, command), "--json"], stdout=subprocess.PIPE
    ) as program:
        deadline = time.monotonic() + 120
        while not (tables := list(tmp_path.glob("*.csv"))) or tables[0].read_text().count("\n") < 9:
            assert program.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.send_signal(sent)
        report = json.loads(program.communicate()[0])["stream"]
    assert program.returncode == 0
    assert report["interrupted"]
    rows = rows_of(tables[0])
    assert len(rows) == report["frames"] >= 8
    import av

    with av.open(str(tmp_path / report["files"][0])) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == report["frames"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    # The pattern says which frame it was: the masks are those of that picture.
    pattern = TestPattern(SIZE, 20)
    spec = Segmenter.open(bundle_path).spec
    (mask,) = expected_masks(bundle_path, [pattern.picture(int(rows[3]["index"]))])
    assert float(rows[3][spec.classes[1]]) == pytest.approx((mask == 1).mean())


def test_what_does_not_fit_a_stream(bundle_path, tmp_path):
    assert "is for frames on standard input; give - in place" in refused(
        "segment", bundle_path, tmp_path / "a.jpg", *RAW
    )
    assert "a stream stands alone" in refused("segment", bundle_path, "-", "a.jpg", *RAW)
    assert "give both: --frame-size 640x480" in refused(
        "segment", bundle_path, "-", "--frame-size", "96x64", "-o", tmp_path / "out"
    )
    assert "--tiles is for photos" in refused("segment", bundle_path, "-", *RAW, "--tiles")
    assert "no such file or source" not in refused(
        "segment", bundle_path, "rtsp://", "-o", tmp_path
    )


def test_an_empty_pipe_is_an_error_and_leaves_no_file(bundle_path, tmp_path):
    arguments = ["segment", str(bundle_path), "-", *RAW, "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", *arguments], input=b"123", capture_output=True
    )
    assert done.returncode == 1
    assert b"standard input has 3 bytes; a frame of 96x64 rgb24 has 18,432 bytes" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_tables_and_pictures_of_raw_frames_need_no_pyav(bundle_path, tmp_path):
    def done(*save):
        blocked = "import sys; sys.modules['av'] = None; from unet_edge.cli import main; main()"
        arguments = ["segment", str(bundle_path), "-", *RAW, "-o", str(tmp_path / "out"), *save]
        return subprocess.run(
            [sys.executable, "-c", blocked, *arguments], input=bytes(2 * 18432), capture_output=True
        )

    refused = done("--save", "overlay,csv")
    assert refused.returncode == 1
    assert b"PyAV cannot be loaded" in refused.stderr
    assert b"Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()
    written = done("--save", "palette,csv")
    assert written.returncode == 0, written.stderr
    (table,) = (tmp_path / "out").glob("*.shares.csv")
    assert [row["index"] for row in rows_of(table)] == ["0", "1"]
    assert len(list((tmp_path / "out").glob("*.palette/*.png"))) == 2


def test_names_of_runs():
    moment = time.strptime("2026-01-31 09:30", "%Y-%m-%d %H:%M")
    names = {
        "-?size=4x4&format=gray": "stdin",
        "/dev/video0?size=640x480": "video0",
        "/dev/v4l/by-id/usb-046d_C920": "v4l-by-id-usb-046d_C920",
        "picamera:1": "picamera-1",
        "rtsp://me:secret@cam.local:554/stream1": "cam.local-554-stream1",
        "rtsp://me:se@cret@cam/stream1": "cam-stream1",
        "rtsp://me:se/cret@cam/stream1": "stream",
        "rtsp://cam/user=me&password=secret": "cam",
        "clips/day.mjpeg": "clips-day",
    }
    for source, name in names.items():
        assert run_name(source, moment) == f"{name}-20260131-093000"


def test_the_photo_on_standard_input_is_still_a_photo(bundle_path):
    done = CliRunner().invoke(main, ["segment", str(bundle_path), "-", "-o", "-"], input=b"text")
    assert done.exit_code == 1
    assert "is not a picture that can be read" in done.output
    assert "for raw frames, give --frame-size and --pixel-format" in done.output


@pytest.mark.parametrize(
    "url", ["rtsp://cam//live", "http://cam/video/", f"https://cam/live?token={'x' * 300}"]
)
def test_a_url_is_passed_on_as_it_is(url):
    assert stream_of([url], None, None, None, frames=False) == url


def test_one_model_with_all_threads_works_for_a_camera(bundle_path):
    segmenter = Segmenter.open(bundle_path)
    counts = []

    def workers(count):
        counts.append(count)
        return [segmenter]

    assert _opened("pattern:96x64@20", VideoOptions(), segmenter, workers).segmenter is segmenter
    assert counts == []
    _opened("-?size=4x2&format=gray", VideoOptions(), segmenter, workers)
    assert len(counts) == 1
