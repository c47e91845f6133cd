"""Check USB cameras against a driver of the Linux kernel, vivid, which generates colour bars.

    sudo modprobe vivid && sudo python -m benchmarks.cameras.check [BUNDLE]

It reads each pixel format and compares it with the driver's own RGB, reads sizes, rates and
clocks, provokes each error, and unbinds and binds the driver 20 times, which is what unplugging
does. `benchmarks.cameras.boot` runs it in a virtual machine, because it unbinds real cameras too
if vivid has their number. vivid gives no MJPEG.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.errors import StreamError
from unet_edge.images.decoding import decode
from unet_edge.streams import v4l2
from unet_edge.streams.frame import Frame, close_frames
from unet_edge.streams.reconnect import Reconnecting

CAMERA = "/dev/video0"
SIZE = (640, 360)
UNPLUGGED = 20
_DRIVER = Path("/sys/bus/platform/drivers/vivid")
_CLEAN = {"OSD Text Mode": 2, "Test Pattern": 0}  # no text, bars of 75 %


def main(bundle: str | None) -> None:
    """Run each check; raises AssertionError when one fails."""
    print("cameras:", v4l2.list_cameras())
    set_clean_picture()
    check_formats()
    check_size_rate_and_clock()
    check_errors()
    check_unplugging()
    if bundle:
        check_command(bundle)
    print("all checks passed")


def set_clean_picture() -> None:
    """Set vivid's controls."""
    from linuxpy.video.device import Device  # type: ignore[import-untyped]

    with Device(CAMERA) as device:
        for control in device.controls.values():
            if getattr(control, "name", None) in _CLEAN:
                control.value = _CLEAN[control.name]


def read(count: int, **asked: Any) -> tuple[v4l2.UsbCamera, list[Frame]]:
    """Read frames of the camera."""
    camera = v4l2.UsbCamera(CAMERA, **asked)
    frames = camera.frames()
    taken = [next(frames) for _ in range(count)]
    close_frames(frames)
    return camera, taken


def check_formats() -> None:
    """Compare each format's pixels with those of RGB3."""
    readable = v4l2._READABLE
    pixels = {}
    for code in ("RGB3", "BGR3", "XR24", "AR24", "YUYV", "UYVY", "NV12", "NV21", "YU12"):
        v4l2._READABLE = (code,)
        _, frames = read(2, size=SIZE)
        pixels[code] = np.asarray(decode(frames[-1].image)).astype(int)
        worst = np.abs(pixels[code] - pixels["RGB3"]).max()
        print(f"{code}: at most {worst} from RGB3")
        # YUV of 8 bits in video's range has steps of up to 2 levels, and vivid rounds it first.
        assert worst <= (3 if code[0] in "YUN" else 0), code
    v4l2._READABLE = readable


def check_size_rate_and_clock() -> None:
    """Ask for what the driver does not have, and compare its clock with this process's."""
    notes: list[str] = []
    camera, frames = read(20, size=(650, 350), rate=Fraction(1000), on_note=notes.append)
    print("notes:", notes)
    assert len(notes) == 2
    assert camera.info.size == SIZE
    assert camera.info.rate is not None
    interval = (frames[-1].time - frames[0].time) / (frames[-1].index - frames[0].index)
    print(f"{1 / interval:.2f} frames/s by the driver's clock, {float(camera.info.rate):.2f} asked")
    assert abs(interval * float(camera.info.rate) - 1) < 0.05
    assert 0 <= time.monotonic() - frames[-1].captured < 1


def check_errors() -> None:
    """Provoke the errors of a camera."""
    reading = (
        "import os, sys; from unet_edge.streams.v4l2 import UsbCamera\n"
        "camera = UsbCamera('/dev/video0')\n"
        "if sys.argv[1] == 'nobody': os.setuid(65534)\n"
        "next(frames := camera.frames()); print('on', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", reading]
    with subprocess.Popen([*command, ""], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        expect(CAMERA, f"(process {holder.pid})")
    nobody = subprocess.run([*command, "nobody"], capture_output=True, text=True, check=False)
    assert "usermod -aG video" in nobody.stderr, nobody.stderr
    expect("/dev/video9", "no camera at /dev/video9")
    expect("/dev/null", "is no V4L2 camera")


def expect(path: str, message: str) -> None:
    """Read a camera, and require an error that holds `message`."""
    found = ""
    try:
        next(v4l2.UsbCamera(path).frames())
    except StreamError as error:
        found = str(error)
    print("error:", found)
    assert message in found


def check_unplugging() -> None:
    """Unplug the camera and plug it in again, and count what is left behind."""

    def plug(change: str) -> None:
        (_DRIVER / change).write_text("vivid.0")

    def replug() -> None:
        plug("unbind")
        time.sleep(0.3)
        plug("bind")

    camera = Reconnecting(
        lambda: v4l2.UsbCamera(CAMERA, SIZE), wait=lambda seconds: time.sleep(0.2)
    )
    before = _held()
    frames = camera.frames()
    taken = [next(frames)]
    running = _held()
    for number in range(UNPLUGGED):
        threading.Thread(target=replug).start()
        while camera.reconnections == number:
            taken.append(next(frames))
    time.sleep(1)
    assert _held() == running
    close_frames(frames)
    assert _held() == before
    assert all(b.index > a.index and b.time > a.time for a, b in itertools.pairwise(taken))
    print(f"unplugged {UNPLUGGED} times: {len(taken)} frames in order, nothing left behind")


def _held() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def check_command(bundle: str) -> None:
    """Segment the camera by the command line."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"{CAMERA}?size=640x360&rate=10", "--to", "2", "--save", "csv", "-o", folder]
        subprocess.run(
            [sys.executable, "-m", "unet_edge", "segment", bundle, *arguments],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        (table,) = Path(folder).glob("video0-*.csv")
        assert len(table.read_text().splitlines()) > 2


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
