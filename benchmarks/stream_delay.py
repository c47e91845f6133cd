"""Time a camera's frame from its arrival to its mask, when the model keeps up and when not.

    python -m benchmarks.stream_delay BUNDLE

1. The model keeps up: a camera of 640x480 px gives so few frames that each is segmented. Its delay
   is paired with `Segmenter.segment` of the same pixels, called right after it.
2. The model is slower than the camera: an hour of a camera of 30 frames a second, 108,000 frames,
   with a model that takes 2.5 frames' time. The hour is run `--speed` times as fast: both the
   camera and the model's time are shortened alike. Reported: the longest delay and its 99.9th
   percentile in inference times, and whether every frame was segmented or counted as dropped.

Writes `benchmarks/reference/<machine>/stream-delay.{md,json}`.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import REFERENCE, named, page, spelled, steadiness, write_report
from unet_edge import ModelSpec, Segmenter
from unet_edge.images.placement import Labels, Pixels
from unet_edge.runtime.backends.backend import no_scores
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.streams.test_pattern import TestPattern
from unet_edge.system.timing import gemm_ms, machine

_RATE = 30  # frames a second of the simulated camera
_SLOWNESS = 2.5  # inference time of the simulated model, in frames


class _SlowModel:
    """A backend that takes a given time."""

    name = "a model of a given time"
    quantisation: tuple[float, int] | None = None

    def __init__(self, seconds: float, shape: tuple[int, int]) -> None:
        self._seconds = seconds
        self._labels = np.zeros(shape, np.uint8)

    def scores(self, pixels: Pixels) -> NDArray[np.float32]:
        raise no_scores()

    def labels(self, pixels: Pixels) -> Labels:
        time.sleep(self._seconds)
        return self._labels


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--pairs", type=click.IntRange(20), default=300, show_default=True)
@click.option("--frames", type=click.IntRange(100), default=_RATE * 3600, show_default=True)
@click.option("--speed", type=float, default=8.0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, pairs: int, frames: int, speed: float, output: Path) -> None:
    """Measure both, and write the report."""
    report: dict[str, Any] = {"machine": machine(), "gemm_before_ms": gemm_ms()}
    report["keeps_up"] = _keeps_up(Segmenter.open(bundle), pairs)
    report["too_slow"] = _too_slow(frames, speed)
    report["gemm_after_ms"] = gemm_ms()
    write_report(named(output, report["machine"], "stream-delay"), report, _markdown(report))
    print(_markdown(report))


def _keeps_up(segmenter: Segmenter, pairs: int) -> dict[str, Any]:
    pattern = TestPattern((640, 480), rate=_RATE)
    for _ in range(5):
        started = time.perf_counter()
        segmenter.segment(pattern.picture(0))
        single = time.perf_counter() - started
    # Each pair takes two runs of the model and makes one picture.
    rate = max(1, min(_RATE, int(1 / (4 * single))))
    camera = TestPattern((640, 480), rate=rate, frames=pairs)
    ratios, delays, singles = [], [], []
    stream = SegmentedStream(camera, [segmenter])
    for result in stream:
        _ = result.mask
        delay = time.monotonic() - result.frame.captured
        started = time.perf_counter()
        segmenter.segment(camera.picture(result.frame.index))
        making = time.perf_counter()
        camera.picture(result.frame.index)
        # The stream's frame was made in its own time as well: both hold the making of the pixels.
        single = making - started
        ratios.append(delay / single)
        delays.append(delay * 1e3)
        singles.append(single * 1e3)
    return {
        "file": segmenter.name,
        "interpreter": segmenter.backend.name,
        "rate": rate,
        "frames": len(ratios),
        "dropped": stream.dropped,
        "ratio": median(ratios),
        "ratio_quartiles": list(map(float, np.quantile(ratios, (0.25, 0.75)))),
        "delay_ms": median(delays),
        "single_ms": median(singles),
    }


def _too_slow(frames: int, speed: float) -> dict[str, Any]:
    spec = ModelSpec(32, 32, ("background", "object"), output="labels")
    inference = _SLOWNESS / _RATE / speed
    model = Segmenter(spec, _SlowModel(inference, spec.size), "slow")
    camera = TestPattern((32, 32), rate=round(_RATE * speed), frames=frames)
    delays, started = [], time.monotonic()
    stream = SegmentedStream(camera, [model])
    indices = []
    for result in stream:
        delays.append(result.delay / inference)
        indices.append(result.frame.index)
    skipped = int(np.diff([-1, *indices]).sum()) - len(indices) + frames - 1 - indices[-1]
    return {
        "frames": frames,
        "speed": speed,
        "seconds": time.monotonic() - started,
        "segmented": len(indices),
        "dropped": stream.dropped,
        "skipped_by_index": skipped,
        "complete": len(indices) + stream.dropped == frames and skipped == stream.dropped,
        "median_delay": median(delays),
        "p999_delay": float(np.quantile(delays, 0.999)),
        "longest_delay": max(delays),
        "over_two": sum(delay > 2 for delay in delays),
    }


def _markdown(report: dict[str, Any]) -> str:
    fast, slow = report["keeps_up"], report["too_slow"]
    low, high = fast["ratio_quartiles"]
    return page(
        "# Delay of a camera's frames",
        f"Made by `python -m benchmarks.stream_delay`. Machine: {spelled(report['machine'])}. "
        + steadiness(report),
        f"The model keeps up ({fast['file']} in {fast['interpreter']}, {fast['rate']} frames a "
        f"second, {fast['frames']} frames, {fast['dropped']} dropped): {fast['delay_ms']:.2f} ms "
        f"from the frame to the mask, {fast['single_ms']:.2f} ms for the same picture alone. "
        f"Median ratio {fast['ratio']:.3f} (quartiles {low:.3f} to {high:.3f}).",
        f"The model takes {_SLOWNESS} frames' time: {slow['frames']:,} frames, "
        f"{slow['frames'] / _RATE / 60:g} minutes of {_RATE} frames a second, in "
        f"{slow['seconds']:.0f} s ({slow['speed']:g} times as fast). "
        f"Segmented {slow['segmented']:,}, dropped {slow['dropped']:,}, together "
        f"{'all' if slow['complete'] else 'NOT all'}. Delay in inference times: median "
        f"{slow['median_delay']:.2f}, 99.9 % {slow['p999_delay']:.2f}, longest "
        f"{slow['longest_delay']:.2f}; {slow['over_two']} frames above 2.",
    )


if __name__ == "__main__":
    main()
