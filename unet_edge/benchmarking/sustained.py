"""Sustained speed: one file for minutes on end, while the machine warms up.

A small board without a fan is slower when it is warm, and that is the speed that counts. The
pictures are segmented in a process of its own, one after another without a pause.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_edge.benchmarking.conditions import clock_mhz
from unet_edge.errors import BackendError, UnetEdgeError
from unet_edge.runtime.packages import Package
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.board import read_board
from unet_edge.system.child_process import answer_pipe, run_child

_MOST_SAMPLES = 600
_AT_FIRST = 10.0  # seconds that count as the cold machine
_WARM = 0.25  # the last share of the time


@dataclass(frozen=True)
class Sample:
    """A second or more: `seconds` since the first picture at its end, and `pictures` in it.

    `p50_ms` is the median time of a complete picture. `mhz` is the mean clock of the processors,
    `temperature` in °C; None where the system does not tell. `throttling` is as in Conditions.
    """

    seconds: float
    pictures: int
    p50_ms: float
    mhz: float | None
    temperature: float | None
    throttling: tuple[str, ...] | None


@dataclass(frozen=True)
class Sustained:
    """A file measured for `minutes` without a pause; `label` is that of its row."""

    label: str
    minutes: float
    samples: tuple[Sample, ...]

    @property
    def cold_rate(self) -> float:
        """Pictures a second in the first ten seconds, or in the first sample."""
        first = [each for each in self.samples if each.seconds <= _AT_FIRST]
        return _rate(first or self.samples[:1], 0.0)

    @property
    def warm(self) -> tuple[Sample, ...]:
        """The samples of the last quarter of the time."""
        start = (1 - _WARM) * self.samples[-1].seconds
        late = tuple(each for each in self.samples if each.seconds > start)
        return late if len(late) < len(self.samples) else late[-1:]

    @property
    def warm_rate(self) -> float:
        """Pictures a second in the last quarter of the time."""
        before = len(self.samples) - len(self.warm)
        return _rate(self.warm, self.samples[before - 1].seconds if before else 0.0)

    @property
    def throttled(self) -> tuple[str, ...]:
        """What a Raspberry Pi reported as happening now, at any time."""
        flags = {flag for each in self.samples for flag in each.throttling or ()}
        return tuple(sorted(flag for flag in flags if flag.endswith(" now")))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sustained:
        """Read the fields as plain JSON values."""
        samples = [
            Sample(**each | {"throttling": _tuple(each["throttling"])}) for each in data["samples"]
        ]
        return cls(**data | {"samples": tuple(samples)})


@dataclass(frozen=True)
class _Request:
    bundle: str
    file: str
    threads: int | None
    backend: Package | None
    pictures: Sequence[str]
    seconds: float


def measure_sustained(
    bundle: Path,
    file: str,
    *,
    label: str,
    threads: int | None,
    backend: Package | None,
    pictures: Sequence[Path],
    minutes: float,
) -> Sustained:
    """Segment pictures with a bundle's file for `minutes`. Raises BackendError if it fails."""
    request = _Request(
        str(bundle), file, threads, backend, [str(path) for path in pictures], 60 * minutes
    )
    ended = threading.Event()
    ticking = threading.Thread(target=_show, args=(request.seconds, ended), daemon=True)
    ticking.start()
    try:
        child = run_child(__name__, dataclasses.asdict(request))
    finally:
        ended.set()
        ticking.join()
    try:
        answer = json.loads(child.output)
    except ValueError:
        raise BackendError(f"{label} {child.failure}") from None
    if "error" in answer:
        raise BackendError(f"{label} did not run: {answer['error']}")
    return Sustained.from_dict({"label": label, "minutes": minutes, "samples": answer["samples"]})


def _show(seconds: float, ended: threading.Event) -> None:
    """Move a bar by the clock until the child ends."""
    from unet_edge.system.progress import progress_bar

    bar = progress_bar(round(seconds), "sustained", unit="s")
    while not ended.wait(1):
        bar.update(min(1, round(seconds) - bar.n))
    bar.close()


def _rate(samples: Sequence[Sample], start: float) -> float:
    """Pictures a second of samples that began at `start`, seconds."""
    return sum(each.pictures for each in samples) / (samples[-1].seconds - start)


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _measure(request: _Request) -> list[Sample]:
    segmenter = Segmenter.open(
        request.bundle, file=request.file, threads=request.threads, backend=request.backend
    )
    length = max(1.0, request.seconds / _MOST_SAMPLES)
    samples: list[Sample] = []
    started = sample_started = time.perf_counter()
    times: list[float] = []
    for picture in itertools.cycle(request.pictures):
        before = time.perf_counter()
        segmenter.segment(picture)
        now = time.perf_counter()
        times.append(1e3 * (now - before))
        done = now - started >= request.seconds
        if now - sample_started >= length or (done and not samples):
            samples.append(_sample(now - started, times))
            times, sample_started = [], now
        if done:
            break
    return samples


def _sample(seconds: float, times: Sequence[float]) -> Sample:
    board, mhz = read_board(), clock_mhz(Path("/"))
    return Sample(
        seconds=seconds,
        pictures=len(times),
        p50_ms=statistics.median(times),
        mhz=statistics.mean(mhz) if mhz else None,
        temperature=board.temperature,
        throttling=board.throttling,
    )


def _main() -> None:
    """The child: a request on standard input, an answer on standard output, both JSON."""
    answer = answer_pipe()
    result: dict[str, Any]
    try:
        samples = _measure(_Request(**json.load(sys.stdin)))
        result = {"samples": [dataclasses.asdict(each) for each in samples]}
    except UnetEdgeError as error:
        result = {"error": str(error)}
    os.write(answer, json.dumps(result).encode())


if __name__ == "__main__":
    _main()
