"""Check that memory, threads and handles do not grow over ten hours of a camera.

    python -m benchmarks.stream_endurance BUNDLE

Ten hours of a camera of 30 frames a second, 1,080,000 frames, run 120 times as fast and read with
the policy "latest". On the way the camera is unplugged 100 times, and plugged in again. Resident
memory, threads and open handles are sampled every hundred masks; the first tenth is a warm-up. A
straight line is fitted to the memory; its slope and the 95 % interval of the slope are reported.
Writes `benchmarks/reference/<machine>/stream-endurance.{md,json}`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.memory_slope import memory_slope
from benchmarks.reporting import REFERENCE, named, page, spelled, write_report
from benchmarks.resident_memory import resident_bytes
from unet_edge import Segmenter
from unet_edge.errors import StreamError
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.streams.frame import Frame
from unet_edge.streams.reconnect import Reconnecting
from unet_edge.streams.test_pattern import TestPattern
from unet_edge.system.timing import machine

_HOURS, _RATE, _SPEED = 10, 30, 120
_EVERY = 100
_PLUGS = 100


class _LooseCamera:
    """A camera that is unplugged `plugs` times, at even distances, and ends."""

    is_live = True

    def __init__(self, frames: int, plugs: int) -> None:
        self._each = frames // (plugs + 1)
        self._plugs = plugs
        self.openings = self.given = 0
        self._pattern = TestPattern((160, 120), rate=_RATE * _SPEED, frames=self._each)
        self.name, self.info = "loose camera", self._pattern.info

    def frames(self) -> Iterator[Frame]:
        self.openings += 1
        # A handle of its own for each opening, as a camera's device is.
        with Path("/dev/null").open("rb"):
            for frame in self._pattern.frames():
                self.given += 1
                yield replace(frame)
            if self.openings <= self._plugs:
                raise StreamError("the camera was unplugged")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--hours", type=click.FloatRange(0.1), default=_HOURS, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, hours: float, output: Path) -> None:
    """Run the camera, fit the line and write the report."""
    segmenter = Segmenter.open(bundle)
    frames = round(hours * 3600 * _RATE)
    camera = _LooseCamera(frames, _PLUGS)
    source = Reconnecting(lambda: camera, wait=lambda _: None)
    stream = SegmentedStream(source, [segmenter])
    started = time.monotonic()
    samples = np.full((frames // _EVERY + 1, 3), -1)  # a list would itself grow
    masks = 0
    for result in stream:
        _ = result.mask
        if masks % _EVERY == 0:
            handles = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            kib = (resident_bytes() or 0) // 1024
            samples[masks // _EVERY] = kib, threading.active_count(), handles
        masks += 1
    taken = samples[: -(-masks // _EVERY)]
    warm = taken[len(taken) // 10 :]
    slope, low, high = memory_slope(warm[:, 0], _EVERY)
    report: dict[str, Any] = {
        "machine": machine(),
        "file": segmenter.name,
        "interpreter": segmenter.backend.name,
        "seconds": time.monotonic() - started,
        "frames": camera.given,
        "masks": masks,
        "dropped": stream.dropped,
        "unplugged": source.reconnections,
        "first_kib": int(warm[0, 0]),
        "last_kib": int(warm[-1, 0]),
        "largest_kib": int(warm[:, 0].max()),
        "bytes_a_mask": slope,
        "interval": [low, high],
        "threads": sorted({int(count) for count in warm[:, 1]}),
        "handles": sorted({int(count) for count in warm[:, 2]}),
    }
    write_report(named(output, report["machine"], "stream-endurance"), report, _markdown(report))
    print(_markdown(report))


def _markdown(report: dict[str, Any]) -> str:
    complete = report["masks"] + report["dropped"] == report["frames"]
    return page(
        "# Ten hours of a camera",
        f"Made by `python -m benchmarks.stream_endurance`. Machine: {spelled(report['machine'])}.",
        f"{report['frames']:,} frames of 160x120 px in {report['seconds']:.0f} s through "
        f"{report['file']} in {report['interpreter']}: {report['masks']:,} masks and "
        f"{report['dropped']:,} dropped frames, together {'all' if complete else 'NOT all'}. "
        f"Unplugged and back {report['unplugged']} times.",
        f"Resident memory after a tenth {report['first_kib']} KiB, at the end "
        f"{report['last_kib']} KiB, at most {report['largest_kib']} KiB. Slope of a straight line: "
        f"{report['bytes_a_mask']:.3f} bytes a mask (95 % interval "
        "{:.3f} to {:.3f}).".format(*report["interval"])
        + f" Threads: {report['threads']}; open handles: {report['handles']}.",
    )


if __name__ == "__main__":
    main()
