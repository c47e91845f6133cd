"""Video files written, and read independently, by the ffmpeg program."""

import json
import subprocess

import numpy as np
from system_programs import require_program

WIDTH, HEIGHT, RATE = 160, 120, 25


def _run(program, *arguments):
    path = require_program(program, package="ffmpeg")
    done = subprocess.run([path, "-v", "error", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def ffmpeg(*arguments):
    return _run("ffmpeg", "-y", *map(str, arguments))


def write_video(path, *encoding, frames=20, size=(WIDTH, HEIGHT), filters="null"):
    """Encode moving test pictures with sharp colours. `encoding` holds options of ffmpeg."""
    source = f"testsrc2=size={size[0]}x{size[1]}:rate={RATE},{filters}"
    # The scaler of the old ffmpeg would lay chroma where it does not say.
    ffmpeg(
        "-f", "lavfi", "-i", source, "-frames:v", frames, "-fps_mode", "passthrough", *encoding,
        path,
    )  # fmt: skip
    return path


def reference_frames(path, size, *, matrix="bt601", span="limited", interlaced=False):
    """The frames of a video as RGB, uint8 (N, H, W, 3), stored as they are, by the ffmpeg program.

    It runs without any vector instructions, so that equal pixels are those of every processor.
    """
    stream = probe(path, "stream=chroma_location")["streams"][0]
    left = "in_h_chr_pos=0:" if stream.get("chroma_location") == "left" else ""
    exact = "flags=bilinear+accurate_rnd+bitexact"
    pixels = ffmpeg(
        "-cpuflags", "0", "-noautorotate", "-flags", "bitexact", "-idct", "simple", "-i", path,
        "-map", "0:v:0", "-fps_mode", "passthrough", "-vf",
        f"scale={left}interl={int(interlaced)}:in_color_matrix={matrix}:in_range={span}:{exact},"
        f"format=gbrp,scale={exact},format=rgb24",
        "-f", "rawvideo", "-",
    )  # fmt: skip
    return np.frombuffer(pixels, np.uint8).reshape(-1, size[1], size[0], 3)


def probe(path, entries):
    """What ffprobe says about the first video stream, as JSON."""
    return json.loads(
        _run("ffprobe", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", path)
    )


def frame_times(path):
    """Each frame's presentation time in ticks, of the ffprobe program."""
    frames = probe(path, "frame=best_effort_timestamp")["frames"]
    return [frame["best_effort_timestamp"] for frame in frames]
