"""What /metrics tells, in Prometheus' text format 0.0.4."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # s


class Histogram:
    """Counts of times, in s, by upper bounds."""

    def __init__(self) -> None:
        """No time is counted yet."""
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a time."""
        with self._lock:
            self._counts[bisect_left(_BOUNDS, seconds)] += 1
            self._sum += seconds

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """The samples: suffix of the name, labels, value."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        for bound, count in zip((*_BOUNDS, "+Inf"), counts, strict=True):
            yield "_bucket", {"le": str(bound)}, count
        yield "_sum", {}, total
        yield "_count", {}, counts[-1]


@dataclass
class Metrics:
    """What is counted while the server runs."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by path and status."""

    delay: Histogram = field(default_factory=Histogram)
    stages: dict[str, Histogram] = field(default_factory=dict)
    segment: Histogram = field(default_factory=Histogram)
    """The times of POST /segment that was answered with a result."""

    def count_frame(self, delay: float, stages: Mapping[str, float]) -> None:
        """Count a frame's delay and the times of its stages, in s."""
        self.delay.add(delay)
        for stage, seconds in stages.items():
            self.stages.setdefault(stage, Histogram()).add(seconds)


class Page:
    """Lines of the text format."""

    def __init__(self) -> None:
        """No line yet."""
        self._lines: list[str] = []

    def single(self, name: str, kind: str, about: str, value: float | None) -> None:
        """A metric with one value; None leaves it out."""
        if value is not None:
            self.several(name, kind, about, [({}, value)])

    def several(
        self, name: str, kind: str, about: str, values: Iterable[tuple[Mapping[str, str], float]]
    ) -> None:
        """A metric with labels."""
        self._head(name, kind, about)
        for labels, value in values:
            self._sample(name, labels, value)

    def histograms(
        self, name: str, about: str, values: Iterable[tuple[Mapping[str, str], Histogram]]
    ) -> None:
        """Histograms of one name, by their labels."""
        self._head(name, "histogram", about)
        for labels, histogram in values:
            for suffix, more, value in histogram.samples():
                self._sample(name + suffix, {**labels, **more}, value)

    def text(self) -> str:
        """The page."""
        return "".join(self._lines)

    def _head(self, name: str, kind: str, about: str) -> None:
        self._lines.append(f"# HELP {name} {about}\n# TYPE {name} {kind}\n")

    def _sample(self, name: str, labels: Mapping[str, str], value: float) -> None:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        self._lines.append(f"{name}{{{pairs}}} {value!r}\n" if pairs else f"{name} {value!r}\n")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
