"""`unet-edge segment` on videos: every frame with its mask and its time, resumable."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from clips import audio_packets, decoded, frame_times, make_clip, probe
from command_line import refused, run, run_json
from PIL import Image

from unet_edge.runtime.segmenter import Segmenter
from unet_edge.streams.video_file import VideoFile

pytest.importorskip("av", reason="no PyAV, as on a device without video")

EVERYTHING = "overlay,index,palette,csv,jsonl"
FRAMES = 130  # two full parts and the beginning of a third


@pytest.fixture(scope="session")
def clip(once):
    """130 frames with noise, moving bars and a sound."""
    return once(
        "clip.mp4",
        lambda path: make_clip(
            path,
            "-f", "lavfi", "-i", "testsrc2=size=160x96:rate=30:duration=4.33",
            "-f", "lavfi", "-i", "sine=440:sample_rate=48000:duration=4.5",
            "-vf", "noise=alls=60:allf=t:all_seed=1",
            "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mp4",
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def masks(clip, bundle_path):
    """The masks of the frames, segmented as pictures one by one: uint8 (frames, H, W)."""
    segmenter = Segmenter.open(bundle_path, threads=1)
    return np.stack([segmenter.segment(frame.image).labels for frame in VideoFile(clip).frames()])


def video_masks(path):
    return np.frombuffer(decoded(path, "gray"), np.uint8).reshape(-1, 96, 160)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".segment.jsonl")


def test_every_frame_gets_the_mask_of_the_same_picture(clip, masks, bundle_path, tmp_path):
    report = run_json("segment", bundle_path, clip, "-o", tmp_path, "--save", EVERYTHING)
    (video,) = report["videos"]
    assert visible(tmp_path) == [
        "clip.index.mkv", "clip.overlay.mp4", "clip.palette", "clip.shares.csv",
        "clip.shares.jsonl",
    ]  # fmt: skip
    assert video["frames"] == FRAMES
    assert video["seconds"] == pytest.approx(FRAMES / 30, abs=0.001)
    assert masks.any()
    assert np.array_equal(video_masks(tmp_path / "clip.index.mkv"), masks)
    pictures = sorted((tmp_path / "clip.palette").glob("*.png"))
    assert [path.name for path in pictures] == [f"{index:06d}.png" for index in range(FRAMES)]
    for path, mask in zip(pictures[::10], masks[::10], strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), mask)
    lines = (tmp_path / "clip.shares.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    times = frame_times(clip)
    assert [row["index"] for row in rows] == list(range(FRAMES))
    assert [row["time"] for row in rows] == times
    classes = list(video["coverage"])
    for row, mask in zip(rows, masks, strict=True):
        assert [row["shares"][name] for name in classes] == [
            (mask == label).mean() for label in range(len(classes))
        ]
    mean = np.mean([[row["shares"][name] for name in classes] for row in rows], axis=0)
    assert list(video["coverage"].values()) == pytest.approx(mean)
    table = (tmp_path / "clip.shares.csv").read_text().splitlines()
    assert table[0] == f"index,time,{','.join(classes)}"
    assert len(table) == FRAMES + 1


def test_an_overlay_video_has_the_sources_times_and_sound(clip, bundle_path, tmp_path):
    report = run_json("segment", bundle_path, clip, "-o", tmp_path)
    assert report["videos"][0]["files"] == ["clip.overlay.mp4"]
    assert report["videos"][0]["notes"] == []
    out = tmp_path / "clip.overlay.mp4"
    assert frame_times(out) == frame_times(clip)
    assert audio_packets(out) == audio_packets(clip)
    assert len(audio_packets(out)) > 200
    assert len(decoded(out, "yuv420p")) == FRAMES * 160 * 96 * 3 // 2
    # Fast start: the index stands before the frames.
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_finished_video_is_skipped_unless_again(clip, bundle_path, tmp_path):
    first, second, third = (
        run_json("segment", bundle_path, clip, "-o", tmp_path, "--save", "index", *again)
        for again in ([], [], ["--again"])
    )
    assert [report["videos"][0]["skipped"] for report in (first, second, third)] == [
        False, True, False,
    ]  # fmt: skip
    assert first["videos"][0]["coverage"] == second["videos"][0]["coverage"]
    # Other options make other files.
    fourth = run_json("segment", bundle_path, clip, "-o", tmp_path, "--save", "index", "--every", 2)
    assert fourth["videos"][0]["frames"] == FRAMES / 2


def test_part_of_a_video_and_every_third_frame(clip, masks, bundle_path, tmp_path):
    save = ["--save", "overlay,index,csv"]
    part = ["--from", "0:01", "--to", "00:00:03.5", "--every", 3]
    report = run_json("segment", bundle_path, clip, "-o", tmp_path, *save, *part)
    chosen = list(range(30, 105, 3))
    assert report["videos"][0]["frames"] == len(chosen)
    assert np.array_equal(video_masks(tmp_path / "clip.index.mkv"), masks[chosen])
    # The overlay video begins at 0, its sound with it.
    times = [round((index - 30) / 30, 6) for index in chosen]
    assert frame_times(tmp_path / "clip.overlay.mp4") == times
    sounds = [float(time) for time, _ in audio_packets(tmp_path / "clip.overlay.mp4")]
    assert 0 <= sounds[0] < 0.03
    assert 2.4 < sounds[-1] < 2.5
    # The table keeps the source's own clock.
    rows = (tmp_path / "clip.shares.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[1]) for row in rows] == [round(i / 30, 6) for i in chosen]


def test_uneven_times_and_sound_that_mp4_cannot_hold(clip, bundle_path, tmp_path):
    uneven = make_clip(
        tmp_path / "uneven.mkv", "-i", str(clip), "-vf", "select='not(mod(n*n,7)-2)+eq(n,0)'",
        "-fps_mode", "vfr", "-c:v", "libx264", "-c:a", "wmav2",
    )  # fmt: skip
    report = run_json("segment", bundle_path, uneven, "-o", tmp_path / "out")
    (note,) = report["videos"][0]["notes"]
    assert note == "its audio (wmav2) was left out: MP4 cannot hold it"
    times = frame_times(uneven)
    assert len(set(np.diff(times).round(3))) > 2
    assert frame_times(tmp_path / "out" / "uneven.overlay.mp4") == times


def test_smoothing_changes_masks_and_goes_on_in_the_next_part(clip, masks, bundle_path, tmp_path):
    save = ["--save", "index", "--smoothing", 0.8]
    run("segment", bundle_path, clip, "-o", tmp_path, *save)
    stream = Segmenter.open(bundle_path, threads=1).stream(clip, smoothing=0.8)
    expected = np.stack([mask.labels for _, mask in stream])
    assert np.array_equal(video_masks(tmp_path / "clip.index.mkv"), expected)
    assert not np.array_equal(expected, masks)


def test_photos_and_videos_in_one_command(clip, photo, bundle_path, tmp_path):
    report = run_json(
        "segment", bundle_path, photo, clip, "-o", tmp_path, "--save", "index,csv", "--every", 50
    )
    assert [Path(result["picture"]) for result in report["pictures"]] == [photo]
    assert [result["frames"] for result in report["videos"]] == [3]
    assert visible(tmp_path) == [
        f"{photo.stem}.index.png", "clip.index.mkv", "clip.shares.csv", "shares.csv",
    ]  # fmt: skip
    # The table of photos has no row for the video.
    assert len((tmp_path / "shares.csv").read_text().splitlines()) == 2
    printed = run("segment", bundle_path, photo, clip, "-o", tmp_path, "--every", 50)
    assert "1 of 1 picture in" in printed
    assert "1 of 1 video in" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--save", "cutout,overlay"], "--save cutout is for photos"),
        (["--save", "polygons"], "choose from overlay, index, palette, csv, jsonl"),
        (["--tiles"], "--tiles is for photos"),
        (["--edges", "smooth"], "--edges smooth is for photos"),
        (["--legend", "beside"], "give --legend on or --legend none"),
        (["--from", "2", "--to", "1"], "--to must be after --from"),
    ],
)
def test_what_makes_no_sense_for_videos_is_refused_first(
    clip, bundle_path, tmp_path, options, message
):
    assert message in refused("segment", bundle_path, clip, "-o", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_options_of_videos_without_a_video_are_refused(photo, bundle_path, tmp_path):
    message = refused("segment", bundle_path, photo, "-o", tmp_path, "--every", 2)
    assert "--every is for videos, and there is none" in message


def test_a_damaged_video_is_reported_and_the_others_are_segmented(clip, bundle_path, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    message = refused(
        "segment", bundle_path, tmp_path / "bad.mp4", clip, "-o", tmp_path / "out", "--every", 50
    )
    assert "bad.mp4 is damaged, or no video file" in message
    assert "1 of 2 files could not be segmented" in message
    assert visible(tmp_path / "out") == ["clip.overlay.mp4"]


def test_files_of_others_are_not_overwritten(clip, bundle_path, tmp_path):
    (tmp_path / "clip.palette").mkdir()
    (tmp_path / "clip.palette" / "mine.txt").write_text("mine")
    run("segment", bundle_path, clip, "-o", tmp_path, "--save", "index", "--every", 50)
    message = refused("segment", bundle_path, clip, "-o", tmp_path, "--save", "palette")
    assert "clip.palette exists and was not written by segment" in message
    assert visible(tmp_path) == ["clip.index.mkv", "clip.palette"]
    index = tmp_path / "clip.index.mkv"
    index.write_bytes(b"changed")
    message = refused("segment", bundle_path, clip, "-o", tmp_path, "--save", "index", "--again")
    assert "was changed since segment wrote it" in message
    assert index.read_bytes() == b"changed"


def test_a_mask_that_was_corrected_by_hand_is_not_overwritten(clip, bundle_path, tmp_path):
    arguments = ["segment", bundle_path, clip, "-o", tmp_path, "--save", "palette"]
    run(*arguments, "--every", 50)
    folder = tmp_path / "clip.palette"
    (folder / ".directory").touch()  # of a file manager
    run(*arguments, "--every", 65)
    assert [path.name for path in sorted(folder.glob("*.png"))] == ["000000.png", "000065.png"]
    (folder / "000065.png").write_bytes(b"corrected")
    message = refused(*arguments, "--every", 50)
    assert "clip.palette was changed since segment wrote it" in message
    assert (folder / "000065.png").read_bytes() == b"corrected"


def test_sound_whose_times_go_back_does_not_cost_the_video(clip, bundle_path, tmp_path):
    once = make_clip(tmp_path / "once.ts", "-i", str(clip), "-c", "copy", "-f", "mpegts")
    (tmp_path / "twice.ts").write_bytes(2 * once.read_bytes())
    arguments = ["segment", bundle_path, tmp_path / "twice.ts", "-o", tmp_path / "out"]
    (video,) = run_json(*arguments, "--every", 20)["videos"]
    assert video["frames"] == 2 * FRAMES / 20
    (note,) = video["notes"]
    assert "damaged packets of its audio were left out" in note
    assert len(frame_times(tmp_path / "out" / "twice.overlay.mp4")) == 13
    assert len(audio_packets(tmp_path / "out" / "twice.overlay.mp4")) > 200


def test_two_videos_of_one_name_get_files_of_their_own(clip, bundle_path, tmp_path):
    other = tmp_path / "other" / "clip.mkv"
    other.parent.mkdir()
    make_clip(other, "-i", str(clip), "-c", "copy")
    out = tmp_path / "out"
    run("segment", bundle_path, clip, other, "-o", out, "--save", "csv", "--every", 50)
    assert visible(out) == ["clip.mkv.shares.csv", "clip.mp4.shares.csv"]


def test_a_video_that_changes_is_segmented_anew(clip, bundle_path, tmp_path):
    source = Path(shutil.copy(clip, tmp_path / "a.mp4"))
    arguments = ["segment", bundle_path, source, "-o", tmp_path / "out", "--save", "csv"]
    assert run_json(*arguments)["videos"][0]["frames"] == FRAMES
    make_clip(source, "-i", str(clip), "-frames:v", "40", "-c:v", "libx264")
    assert run_json(*arguments)["videos"][0]["frames"] == 40


def test_a_rotated_video_is_shown_upright(clip, bundle_path, tmp_path):
    turned = make_clip(
        tmp_path / "turned.mp4", "-i", str(clip), "-c", "copy", "-metadata:s:v", "rotate=90"
    )
    run("segment", bundle_path, turned, "-o", tmp_path / "out", "--every", 50)
    out = tmp_path / "out" / "turned.overlay.mp4"
    (stream,) = probe(out, "-select_streams", "v", "-show_entries", "stream=width,height")[
        "streams"
    ]
    assert (stream["width"], stream["height"]) == (96, 160)
