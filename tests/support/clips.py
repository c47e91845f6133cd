"""Video files that FFmpeg's own program makes, and what ffprobe reads in videos."""

import json
import subprocess
from pathlib import Path

from system_programs import require_program


def make_clip(path: Path, *arguments: str) -> Path:
    """Run ffmpeg with arguments that end before the output's name."""
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    subprocess.run([ffmpeg, "-v", "error", "-y", *arguments, str(path)], check=True)
    return path


def probe(path: Path, *arguments: str) -> dict:
    """What ffprobe says, as from JSON. It fails the test when the file has an error."""
    ffprobe = require_program("ffprobe", package="ffmpeg")
    done = subprocess.run(
        [ffprobe, "-v", "error", "-of", "json", *arguments, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def frame_times(path: Path) -> list[float]:
    """The time in seconds of each video frame, decoded by ffprobe."""
    found = probe(path, "-select_streams", "v", "-show_entries", "frame=pts_time")
    return [float(frame["pts_time"]) for frame in found["frames"]]


def audio_packets(path: Path) -> list[tuple[str, str]]:
    """The time and MD5 digest of each packet of audio."""
    entries = ["-select_streams", "a", "-show_entries", "packet=pts_time,data_hash"]
    found = probe(path, *entries, "-show_data_hash", "md5")
    return [(packet["pts_time"], packet["data_hash"]) for packet in found["packets"]]


def decoded(path: Path, pixels: str) -> bytes:
    """All frames as FFmpeg's program decodes them, raw. It fails the test on any error."""
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-xerror", "-i", str(path), "-fps_mode", "passthrough",
         "-enc_time_base", "-1",
         "-f", "rawvideo", "-pix_fmt", pixels, "-"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert done.stderr == b""
    return done.stdout
