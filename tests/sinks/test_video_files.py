"""Sinks write videos that FFmpeg's own program reads: every frame, with its time and its mask."""

import json
from fractions import Fraction

import numpy as np
import pytest
from clips import decoded, frame_times, make_clip, probe
from PIL import Image

from unet_edge.errors import StreamError
from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.mask_pictures import MaskPictures
from unet_edge.sinks.mask_video import MaskVideo
from unet_edge.sinks.overlay_video import OverlayVideo
from unet_edge.sinks.raw_output import RawOutput
from unet_edge.sinks.shares import SharesLog
from unet_edge.spec import ModelSpec
from unet_edge.streams.frame import Frame
from unet_edge.streams.video_file import VideoFile

pytest.importorskip("av", reason="no PyAV, as on a device without video")

SPEC = ModelSpec(16, 16, ("background", "cell", "nucleus"))


def segmented(frames):
    """Segmented frames whose labels change with each frame."""
    for frame in frames:
        labels = np.zeros((9, 16), np.uint8)
        labels[:, : frame.index % 16] = 1
        labels[frame.index % 9, 5:] = 2
        height, width = np.asarray(frame.image).shape[:2]
        yield SegmentedFrame(frame, GridLabels((width, height), labels, SPEC), {}, 0.0, None)


def pictures(size, ticks, time_base=Fraction(1, 90000)):
    for index, pts in enumerate(ticks):
        pixels = np.full((size[1], size[0], 3), 40 + index, np.uint8)
        yield Frame(index, pts, time_base, 0.0, lambda pixels=pixels: pixels)


def write(sink, results):
    for result in results:
        sink.write(result)
    sink.close()


def test_an_overlay_video_keeps_uneven_times_exactly(tmp_path):
    ticks = [900, 3903, 3904, 100_000, 100_001, 271_828]
    write(OverlayVideo(tmp_path / "out.mp4"), segmented(pictures((64, 48), ticks)))
    found = probe(tmp_path / "out.mp4", "-show_entries", "packet=pts:stream=time_base,codec_name")
    assert found["streams"] == [{"codec_name": "h264", "time_base": "1/90000"}]
    assert [packet["pts"] for packet in found["packets"]] == [tick - 900 for tick in ticks]
    assert len(decoded(tmp_path / "out.mp4", "yuv420p")) == 6 * 64 * 48 * 3 // 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_an_overlay_of_odd_size_is_a_pixel_larger(tmp_path):
    write(OverlayVideo(tmp_path / "out.mp4"), segmented(pictures((63, 47), [0, 1])))
    (stream,) = probe(tmp_path / "out.mp4", "-show_entries", "stream=width,height")["streams"]
    assert stream == {"width": 64, "height": 48}


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (321, 5)])
def test_a_mask_video_holds_the_masks_bit_for_bit(tmp_path, size):
    results = list(segmented(pictures(size, range(0, 90_000, 9000))))
    write(MaskVideo(tmp_path / "out.mkv"), results)
    expected = b"".join(result.mask.labels.tobytes() for result in results)
    assert decoded(tmp_path / "out.mkv", "gray") == expected
    assert frame_times(tmp_path / "out.mkv") == [index / 10 for index in range(10)]


def test_colours_and_timing_of_a_real_file_are_kept(tmp_path):
    clip = make_clip(
        tmp_path / "clip.mp4",
        "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=30000/1001:duration=1",
        "-vf", "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709",
        "-pix_fmt", "yuv420p",
    )  # fmt: skip
    write(OverlayVideo(tmp_path / "out.mp4"), segmented(VideoFile(clip).frames()))
    entries = "stream=color_range,color_space,color_transfer,color_primaries"
    before, after = (
        probe(path, "-show_entries", entries)["streams"] for path in (clip, tmp_path / "out.mp4")
    )
    assert after == before
    assert after[0]["color_space"] == "bt709"
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip)


def test_no_frames_leave_no_file(tmp_path):
    sink = OverlayVideo(tmp_path / "out.mp4")
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_change_of_size_is_refused_and_the_frames_before_are_kept(tmp_path):
    sink = OverlayVideo(tmp_path / "out.mp4")
    (small,) = segmented(pictures((64, 48), [0]))
    (large,) = segmented(pictures((80, 48), [9000]))
    sink.write(small)
    with pytest.raises(StreamError, match="change from 64x48 to 80x48 px"):
        sink.write(large)
    sink.close()
    assert frame_times(tmp_path / "out.mp4") == [0]


def test_a_folder_of_masks_has_one_picture_a_frame(tmp_path):
    results = list(segmented(pictures((64, 48), [0, 1, 2])))
    write(MaskPictures(tmp_path / "masks"), results)
    for result in results:
        with Image.open(tmp_path / f"masks/00000{result.frame.index}.png") as picture:
            assert picture.mode == "P"
            assert np.array_equal(np.asarray(picture), result.mask.labels)


def test_shares_are_a_table_or_json_lines_and_go_on_in_the_same_file(tmp_path):
    results = list(segmented(pictures((64, 48), [0, 3000, 6000], Fraction(1, 90000))))
    for kind in ("csv", "jsonl"):
        write(SharesLog(tmp_path / kind, kind), results[:2])
        write(SharesLog(tmp_path / kind, kind), results[2:])
    header, *rows = (tmp_path / "csv").read_text().splitlines()
    assert header == "index,time,background,cell,nucleus"
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == [0, 0.033333, 0.066667]
    for result, row, line in zip(results, rows, lines, strict=True):
        assert line["index"] == result.frame.index
        assert line["shares"] == result.mask.coverage()
        values = [line["index"], line["time"], *line["shares"].values()]
        assert row == ",".join(map(str, values))


def test_raw_frames_are_bytes_without_headers(tmp_path):
    results = list(segmented(pictures((63, 47), [0, 1])))
    with (tmp_path / "masks").open("wb") as masks, (tmp_path / "overlays").open("wb") as overlays:
        write(RawOutput(masks, "index"), results)
        write(RawOutput(overlays, "overlay", legend="none"), results)
    expected = b"".join(result.mask.labels.tobytes() for result in results)
    assert (tmp_path / "masks").read_bytes() == expected
    drawn = [result.mask.overlay(result.frame.image, legend="none") for result in results]
    assert (tmp_path / "overlays").read_bytes() == b"".join(map(Image.Image.tobytes, drawn))
